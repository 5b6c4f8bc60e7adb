"""Sections of report.html for displayed expressions, and the page of `subclasses`."""
