"""On what terms a model is measured: whose split, whose classes, and what it may have seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from likeness.bundle import Bundle
from likeness.data.manifest import Manifest
from likeness.errors import UserError, require
from likeness_apps.shell.coarser import coarser_classes, labelled_by, only_shared
from likeness_apps.shell.console import say
from likeness_apps.shell.domain import Coarser, Domain, Elsewhere
from likeness_apps.shell.matching import EXTERNAL
from likeness_apps.shell.others import other_sets, shared_pictures
from likeness_apps.shell.protocols import named, require_its_data, stated_split


@dataclass(frozen=True)
class Terms:
    """On what terms a model is measured.

    Attributes:
        stated: what the result says of its split.
        wanted: the protocol that the person named; None = that of the model's own split.
        labels: see `Protocol`.
        coarser: the classes that labels and answers are brought to; None leaves them.
        shared: whether labels that the model does not know are left out, see `Protocol`.
        rule: what data must be where the model may have seen none of it; "" where it may.
        instead: how data with other labels may be measured, for the message; "" for in no way.
    """

    stated: dict[str, Any]
    wanted: str | None = None
    labels: Callable[[pd.DataFrame], Sequence[str] | None] | None = None
    coarser: Coarser | None = None
    shared: bool = False
    rule: str = ""
    instead: str = ""

    def applied(
        self,
        domain: Domain,
        bundle: Bundle,
        manifest: Manifest,
        split: str,
        against: Sequence[Path],
        *,
        quiet: bool,
    ) -> tuple[Manifest, dict[str, Any]]:
        """The set with the labels that are measured, and what the result says of how.

        Raises:
            UserError: if the set or the split does not fit, see also `overlap_facts`.
        """
        facts: dict[str, Any] = {}
        if self.rule:
            name = str(self.wanted)
            require(split == "test", "split", f"test for protocol {name}: the whole set", split)
            require_its_data(manifest, domain.protocols[name], f"data of protocol {name}")
        if self.rule or against:
            facts["overlap"] = overlap_facts(domain, bundle, manifest, against, quiet=quiet)
        if self.coarser is not None:
            plain = labelled_by(manifest, self.labels, None)
            facts["compared_as"] = compared_as(plain, bundle, self.coarser)
        if self.shared:
            _, facts["shared_classes"] = only_shared(manifest, bundle.classes)
        return self.labelled(manifest, bundle.classes), facts

    def labelled(self, manifest: Manifest, classes: Sequence[str]) -> Manifest:
        """The set with the labels that are measured, for a model of these classes.

        Raises:
            UserError: if no label is left.
        """
        manifest = labelled_by(manifest, self.labels, self.coarser)
        return only_shared(manifest, classes)[0] if self.shared else manifest

    def require_known(self, manifest: Manifest, classes: Sequence[str]) -> None:
        """Refuse labels that are none of these classes.

        Raises:
            UserError: naming them, and protocols that may take them.
        """
        unknown = sorted(set(manifest.classes) - set(classes))
        rule = f"among the model's {len(classes)} classes"
        if self.instead:
            rule += f", or {self.instead}"
        require(not unknown, "labels", rule, unknown[:5])

    def stated_of(self, measured_split: str) -> dict[str, Any]:
        """What the result says of the split that turned out to be measured.

        Raises:
            UserError: if a protocol was named, but the data are not those of the model's split.
        """
        if measured_split != EXTERNAL:
            return self.stated
        if self.wanted is None:  # whatever protocol the model's own split follows
            return {"protocol": EXTERNAL}
        rule = f"the data set of protocol {self.wanted}"
        require(self.rule or self.coarser is not None, "data", rule, "another one")
        return self.stated


def terms_of(domain: Domain, bundle: Bundle, wanted: str | None) -> Terms:
    """Those of the model's own split; a wanted protocol must be its, or one for other models.

    Raises:
        UserError: if it is neither, or the model was trained on the data of that protocol.
    """
    config = bundle.config.get("data") or {}
    facts = stated_split(domain, config.get("protocol"), config.get("fold"))
    own = facts["protocol"]
    if wanted is None or wanted == own:
        protocol = named(domain, wanted) if wanted is not None else domain.protocols.get(own)
        labels, coarser = (None, None) if protocol is None else (protocol.labels, protocol.coarser)
        return Terms(facts, wanted, labels, coarser, instead=_instead(domain, bundle))
    protocol = named(domain, wanted)
    if isinstance(protocol.split, Elsewhere) or protocol.coarser is not None:
        _require_elsewhere(bundle, protocol.layouts, wanted)
        rule = f"pictures that the model never saw, for protocol {wanted}"
        facts = stated_split(domain, wanted, None)
        how = protocol.labels, protocol.coarser, protocol.shared_classes
        return Terms(facts, wanted, *how, rule=rule)
    raise UserError(
        f"protocol must be the one of the model's own split, {own!r}, got {wanted!r}; "
        f"train with --set data.protocol={wanted}"
    )


def _instead(domain: Domain, bundle: Bundle) -> str:
    """Protocols for any layout that take labels which the model does not know."""
    coarser, sharing = [], []
    for name, protocol in domain.protocols.items():
        of = None if protocol.coarser is None or protocol.layouts else protocol.coarser.of
        if of is not None and all(map(of, bundle.classes)):
            coarser.append(name)
        if protocol.shared_classes:
            sharing.append(name)
    ways = {"of coarser classes": coarser, "left out": sharing}
    told = [f"{way} with --protocol {' or '.join(names)}" for way, names in ways.items() if names]
    return ", or ".join(told)


def _require_elsewhere(bundle: Bundle, layouts: Sequence[str], protocol: str) -> None:
    """Even if not one picture is the same: a model of that very data set is not from elsewhere."""
    layout = bundle.provenance.get("layout")
    rule = f"trained on other data than those of protocol {protocol}"
    require(layout not in layouts, "model", rule, f"one of the layout {layout}")


def overlap_facts(
    domain: Domain, bundle: Bundle, manifest: Manifest, against: Sequence[Path], *, quiet: bool
) -> dict[str, Any]:
    """What was done to find pictures of the data among those that the model saw.

    Raises:
        UserError: if a picture of the data is in one of the sets `against`, in any encoding.
    """
    saved = int((bundle.splits["sha256"] != "").sum())
    facts: dict[str, Any] = {"saved_content_hashes": saved, "sets": []}
    if not against:
        reason = "not looked for: they need the training images (--against)"
        return facts | {"near_duplicates": reason}
    others = other_sets(domain, against)
    found = shared_pictures(manifest, others, quiet=quiet)
    same = next((one for one in found if one.how == "same"), None)
    got = "" if same is None else f"{same.path}, the same picture as {same.other_path}"
    require(same is None, "data", "pictures that are in none of the sets of --against", got)
    for one in found:
        say(one.finding().line(), quiet=quiet)
    near = [one.path for one in found]
    return facts | {"sets": list(others), "near_duplicates": len(near), "near_paths": near}


def compared_as(manifest: Manifest, bundle: Bundle, coarser: Coarser) -> dict[str, Any]:
    """How labels and the model's classes become the coarser ones; "" = left out.

    Raises:
        UserError: if a class of the model belongs to none of them.
    """
    return {
        "classes": list(coarser.classes),
        "labels": {label: coarser.of(label) for label in manifest.classes},
        "model": coarser_classes(bundle.classes, coarser),
    }
