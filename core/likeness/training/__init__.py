"""Training: one visible loop (`loop.py`) and what it is made of."""

from likeness.training.data import TrainingData
from likeness.training.distributed import build_fabric
from likeness.training.hooks import EpochHook
from likeness.training.ledger import TIME_COLUMNS
from likeness.training.loop import FitResult, Validate, fit
from likeness.training.spec import DataSpec, RunSpec
from likeness.training.step import Method, Update

__all__ = [
    "TIME_COLUMNS",
    "DataSpec",
    "EpochHook",
    "FitResult",
    "Method",
    "RunSpec",
    "TrainingData",
    "Update",
    "Validate",
    "build_fabric",
    "fit",
]
