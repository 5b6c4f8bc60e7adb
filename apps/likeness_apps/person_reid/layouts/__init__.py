"""The public re-identification sets as they lie on disk, read into one Manifest."""

from likeness_apps.person_reid.layouts.recognition import recognise

__all__ = ["recognise"]
