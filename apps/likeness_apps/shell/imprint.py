"""`imprint`: a model that also knows one more class, from a few images of it.

Legend: N = images of the class, D = embedding dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likeness.bundle import Bundle, save_bundle
from likeness.card import section_of, with_sections
from likeness.data.manifest import split_name
from likeness.data.tables import TABLE_SUFFIXES, load_frame
from likeness.errors import UserError, require
from likeness.inference.averaging import Views
from likeness.inference.hashed import answer_hashed
from likeness.inference.imprinted import ADDED, BEFORE, require_room, with_class
from likeness.inference.predictor import Predictor
from likeness.inference.sources import open_source
from likeness.provenance import collect_provenance, hash_table
from likeness_apps.shell.console import progress, say
from likeness_apps.shell.domain import APPLICATION, Domain
from likeness_apps.shell.generated import TERMS, is_generated
from likeness_apps.shell.members import own_bundle
from likeness_apps.shell.outputs import require_new
from likeness_apps.shell.screening import screened

KEPT_ORIGINS = (APPLICATION, "layout", "started_from", "distilled_from")


@dataclass(frozen=True, eq=False)
class Examples:
    """The images of the class that could be used.

    Attributes:
        embeddings_ND: by the model, as its space compares them.
        rows: of splits.csv.
        licence: their terms; None where nobody said.
    """

    embeddings_ND: np.ndarray
    rows: pd.DataFrame
    licence: str | None


def imprint(
    domain: Domain,
    model: Path,
    images: Path,
    out: Path,
    *,
    label: str,
    licence: str | None = None,
    tta: Views = "one",
    facts: Mapping[str, str] | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """Write the model `out`, which is `model` and the class `label`.

    Args:
        domain: the application.
        model: a bundle or a run.
        images: a folder, a table or one image of the class; of a table with labels the rows of
            this label that are not held out.
        out: a new directory.
        label: the name of the class.
        licence: the terms of the images, as the data licence of the model shall state them.
        tta: views of each image whose mean counts, see `Predictor`.
        facts: what else the provenance shall say.
        batch_size: images per forward pass.
        device: where the network runs.
        quiet: no progress.

    Raises:
        UserError: if the model cannot gain the class, no image can be used, or one of them was in
            the model's own splits.
    """
    require_new(out, "a new directory")
    bundle = own_bundle(domain, model)
    require_room(bundle, label)
    predictor = Predictor(bundle, columns="embed", views=tta, batch_size=batch_size, device=device)
    examples = _examples(domain, predictor, bundle, images, label, licence, quiet=quiet)
    new = with_class(bundle, label, examples.embeddings_ND, examples.rows)
    terms = _terms(bundle.data_licence, examples.licence, label)
    save_bundle(
        out,
        new.embedder,
        config=new.config,
        classes=new.classes,
        preprocessing=new.preprocessing,
        splits=new.splits,
        metrics=new.metrics,
        provenance=_provenance(bundle, new, terms, device) | dict(facts or {}),
        card=_card(bundle, new, label, len(examples.rows), terms, facts or {}),
        centres_CD=new.centres_CD,
        gallery=new.gallery,
        subclasses=new.subclasses,
    )
    _tell(domain, bundle, new, out, label, len(examples.rows), quiet=quiet)


def _examples(
    domain: Domain,
    predictor: Predictor,
    bundle: Bundle,
    images: Path,
    label: str,
    licence: str | None,
    *,
    quiet: bool,
) -> Examples:
    """Embed what can be read, each picture once."""
    source = open_source(screened(domain, images, quiet=quiet))
    paths = _of_label(Path(source.given), list(source.paths()), label)
    with progress(f"{domain.name}: imprint", quiet=quiet) as advance:
        found = answer_hashed(predictor, paths, source.root, on_progress=advance)
    blocks = found.blocks
    reasons = [reason for block in blocks for reason in block.reasons]
    rows, kept, seen = [], [], set()
    embeddings = [row_D for block in blocks for row_D in block.embeddings_BD]
    for place, (row, reason) in enumerate(zip(found.rows_A.tolist(), reasons, strict=True)):
        path, content = paths[row], found.sha256[row]
        if reason:
            say(f"left out: {path}: {reason}", quiet=quiet)
        elif content in seen:
            say(f"left out: {path}: the same picture as one before it", quiet=quiet)
        else:
            seen.add(content)
            kept.append(embeddings[place])
            rows.append((path, label, "train", path, content))
    require(rows, "images", "at least one that can be read", len(paths))
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group", "sha256"])
    _require_new_pictures(bundle, table)
    if licence is None and is_generated(source.root):
        licence = TERMS
    return Examples(np.stack(kept), table, licence)


def _of_label(given: Path, paths: list[str], label: str) -> list[str]:
    """Of a table with labels the rows of this one, without those of validation and test."""
    if given.is_dir() or given.suffix.lower() not in TABLE_SUFFIXES:
        return paths
    frame = load_frame(given)
    if "label" not in frame.columns:
        return paths
    wanted = (frame["label"].astype(str) == label).to_numpy()
    if "split" in frame.columns:
        held = [split_name(str(cell)) in ("val", "test") for cell in frame["split"]]
        wanted = wanted & ~np.array(held, dtype=bool)
    chosen = [path for path, want in zip(paths, wanted, strict=True) if want]
    rule = f"a table with rows labelled {label!r} outside val and test"
    require(chosen, "images", rule, str(given))
    return chosen


def _require_new_pictures(bundle: Bundle, table: pd.DataFrame) -> None:
    known = bundle.splits.drop_duplicates("sha256").set_index("sha256")
    for path, content in zip(table["path"], table["sha256"], strict=True):
        if content in known.index:
            row = known.loc[content]
            raise UserError(
                f"images must be new to the model, got {path}, which is in its {row['split']} "
                f"split as {row['label']!r}"
            )


def _terms(known: str | None, given: str | None, label: str) -> str | None:
    """The data licence of the new model; None where that of a part is not known."""
    if known is None or given is None or known == given:
        return known if given is not None else None
    return f"{known}; images of {label!r}: {given}"


def _provenance(old: Bundle, new: Bundle, terms: str | None, device: str) -> dict[str, Any]:
    """Of the call and the new splits, and where the old model came from."""
    made = collect_provenance(
        seed=int(old.provenance.get("seed", 0)),
        data_hash=hash_table(new.splits),
        data_licence=terms,
        device=device,
    )
    kept = {key: old.provenance[key] for key in KEPT_ORIGINS if key in old.provenance}
    return {**made, **kept, "imprinted_from": old.model_id}


def _card(
    old: Bundle,
    new: Bundle,
    label: str,
    images: int,
    terms: str | None,
    facts: Mapping[str, str],
) -> str:
    """The old card, and in every section what the new class changes."""
    said = {name: section_of(old.card, name) for name in ("Data", "Results", "Limits")}
    data = [line for line in said["Data"].splitlines() if not line.startswith(_TERM_LINES)]
    stated = "".join(f"\n- {key.capitalize()}: {text}" for key, text in facts.items())
    bodies = {
        "Data": "\n".join(data)
        + f"\n- Licence: {terms or 'not stated; `export` needs one'}"
        + f"\n- Terms for users of the model: {terms or 'none known'}"
        + f"\n\nThe class `{label}` was imprinted from {images} images into model {old.model_id}: "
        + f"nothing was trained on them.{stated}",
        "Limits": said["Limits"]
        + f"\n\nThe network never learned to tell `{label}` from the other classes, and images of "
        f"these may now be taken for it{_share(new)}. The scope check, if the model had one, is "
        "off: it was fixed without such images.",
    }
    if BEFORE in new.metrics:  # else figures are of embeddings alone, and still hold
        bodies["Operating point"] = _operating_point(old, new, label)
        bodies["Results"] = (
            f"Not evaluated with the class `{label}`. What follows was measured before it was "
            f"imprinted, on the classes of then.\n\n{said['Results']}"
        )
    title = old.card.splitlines()[0]
    return with_sections(old.card.replace(title, f"{title}; `{label}` imprinted", 1), bodies)


def _share(new: Bundle) -> str:
    """Of the training images of the other classes, where the model kept them."""
    taken = new.metrics[ADDED][-1]["taken"]
    return "" if taken is None else f" (of those that were trained on, {100 * taken:.1f} % are)"


_TERM_LINES = ("- Licence:", "- Terms for users of the model:")


def _operating_point(old: Bundle, new: Bundle, label: str) -> str:
    vectors = new.metrics[ADDED][-1]["vectors"]
    text = section_of(old.card, "Operating point")
    if vectors == "none" and old.embedder.num_classes:
        text = "The class with the nearest centre of training images; there is no threshold."
    elif vectors == "imprinted":
        text = (
            "The class whose vector has the largest cosine with the embedding; there is no "
            "threshold. The vectors of all classes are mean directions of their images; they took "
            "the place of the trained class layer."
        )
    return (
        f"{text}\n\nThis does not cover `{label}`: temperature and thresholds were fixed without "
        "it. Evaluate the model on images of all its classes before probabilities are relied on."
    )


def _tell(
    domain: Domain, old: Bundle, new: Bundle, out: Path, label: str, images: int, *, quiet: bool
) -> None:
    say(f"{out}: {len(old.classes)} classes and {label!r}, from {images} images", quiet=quiet)
    alike = [name for name in old.classes if name.lower() == label.lower()]
    if alike:
        say(f"{label!r} differs from the known class {alike[0]!r} by case only", quiet=quiet)
    if images == 1:
        say("One image is thin: what is special to it now counts as the class", quiet=quiet)
    vectors = new.metrics[ADDED][-1]["vectors"]
    if vectors == "none" and old.embedder.num_classes:
        say("The class layer does not read the embedding: dropped for class centres", quiet=quiet)
    elif vectors == "imprinted":
        say("The class layer is one of cosines now, imprinted for all classes", quiet=quiet)
    if _share(new):
        say(f"Known images may be taken for {label!r}{_share(new)}", quiet=quiet)
    if old.scope is not None:
        say("The scope check is off: it was fixed without the class", quiet=quiet)
    layer = " --set model.class_layer=cosine" if new.embedder.num_classes else ""
    say(
        f"To fine-tune: likeness {domain.name} train DATA --set start={out}{layer} --out RUN",
        quiet=quiet,
    )
