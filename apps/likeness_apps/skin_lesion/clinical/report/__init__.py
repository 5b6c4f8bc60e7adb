"""The sections of report.html that a clinic and a journal's reviewer expect."""

from likeness_apps.skin_lesion.clinical.report.sections import SECTIONS
from likeness_apps.skin_lesion.clinical.report.tables import headlines

__all__ = ["SECTIONS", "headlines"]
