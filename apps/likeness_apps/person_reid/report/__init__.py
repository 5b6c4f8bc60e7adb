"""report.html of people: curves, cameras, confusions, and rank sheets where they are asked for."""

from likeness_apps.person_reid.report.page import write_report

__all__ = ["write_report"]
