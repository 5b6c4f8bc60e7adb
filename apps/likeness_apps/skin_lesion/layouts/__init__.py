"""The public lesion sets as they lie on disk, read into one Manifest."""

from likeness_apps.skin_lesion.layouts.recognition import recognise

__all__ = ["recognise"]
