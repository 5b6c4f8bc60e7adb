"""Self-contained HTML reports, contact sheets and galleries."""

from likeness_apps.shell.report.data import ReportData, TrainingItems
from likeness_apps.shell.report.html import write_report

__all__ = ["ReportData", "TrainingItems", "write_report"]
