"""One evaluation and its page."""

from __future__ import annotations

import pytest

from fixtures.reports import report_data
from likeness_apps.shell.report import ReportData
from likeness_apps.shell.report.html import render_report


@pytest.fixture(scope="session")
def data() -> ReportData:
    return report_data(classes=6, per_class=9, spread=0.45)


@pytest.fixture(scope="session")
def page(data) -> str:
    return render_report(data, include_images=True)
