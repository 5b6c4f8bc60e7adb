"""Public sets of faces, and one's own, as one table."""

from likeness_apps.facial_expression.layouts.recognition import recognise

__all__ = ["recognise"]
