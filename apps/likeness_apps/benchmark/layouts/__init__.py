"""Public layouts of the zero-shot retrieval sets, as downloaded."""

from likeness_apps.benchmark.layouts.recognition import recognise

__all__ = ["recognise"]
