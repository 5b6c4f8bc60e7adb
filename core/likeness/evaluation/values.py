"""What every metric returns: a number, how much it rests on, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class MetricValue:
    """One number with its evidence.

    Attributes:
        value: the metric; nan if nothing counted.
        count: the queries, items or classes that it averages over.
        skipped: how many were left out, by reason.
        low: lower end of the interval; None if none was computed, nan if none can be.
        high: upper end of the interval.
    """

    value: float
    count: int
    skipped: dict[str, int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def mean_value(
    values_N: Float[np.ndarray, " N"], counted_N: Bool[np.ndarray, " N"], reason: str
) -> MetricValue:
    """The mean of the counted items; the others are skipped for `reason`.

    Returns:
        `MetricValue` with value nan if no item counts.
    """
    count = int(counted_N.sum())
    missing = len(counted_N) - count
    value = float(values_N[counted_N].mean()) if count else float("nan")
    return MetricValue(value, count, {reason: missing} if missing else {})


def plain(values: Mapping[str, MetricValue]) -> dict[str, dict[str, Any]]:
    """`as_dict` of every value."""
    return {name: value.as_dict() for name, value in values.items()}
