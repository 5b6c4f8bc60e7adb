"""What an application tells the shared commands about its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from likeness.data.manifest import Manifest


@dataclass(frozen=True)
class Protocol:
    """A published way of splitting one data set.

    Attributes:
        layout: the layout that the protocol is defined for.
        training: the share of images for training, validation cut included, in (0, 1).
        source: where the protocol comes from.
    """

    layout: str
    training: float
    source: str


@dataclass(frozen=True)
class CardText:
    """The parts of a model card that belong to a field and not to a run."""

    intended_use: str
    out_of_scope: str
    limits: str
    consent: str


@dataclass(frozen=True)
class Domain:
    """One application, as the shared commands see it.

    Attributes:
        name: the name on the command line, e.g. `remote-sensing`.
        folder: the folder of its configurations, e.g. `remote_sensing`.
        default_config: the configuration that `train` takes without `--config`.
        recognise: path of a data set -> Manifest; imports what it needs when called.
        write_sample: (out, seed) -> root of a generated data set in a real public layout.
        protocols: named protocols.
        card: what the model card says of the field.
        licences: terms of known layouts, e.g. `{"aid": "academic use only"}`.
    """

    name: str
    folder: str
    default_config: str
    recognise: Callable[[Path], Manifest]
    write_sample: Callable[[Path, int], Path]
    card: CardText
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
