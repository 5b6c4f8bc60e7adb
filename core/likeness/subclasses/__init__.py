"""Variants inside classes: found as mixtures, matched from round to round, and put to the test."""

from likeness.subclasses.discovery import Subclasses, discover, subclass_name
from likeness.subclasses.matching import match_slots
from likeness.subclasses.mixtures import Kind, Mixture, fit_mixture
from likeness.subclasses.record import SubclassRecord, read_record, record_of
from likeness.subclasses.spec import SubclassSpec
from likeness.subclasses.stability import RandomSplits, against_random_splits, agreement_inside

__all__ = [
    "Kind",
    "Mixture",
    "RandomSplits",
    "SubclassRecord",
    "SubclassSpec",
    "Subclasses",
    "against_random_splits",
    "agreement_inside",
    "discover",
    "fit_mixture",
    "match_slots",
    "read_record",
    "record_of",
    "subclass_name",
]
