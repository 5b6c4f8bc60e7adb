"""The public scene sets as they lie on disk, read into one Manifest."""

from likeness_apps.remote_sensing.layouts.recognition import recognise

__all__ = ["recognise"]
