"""What a clinic expects measured, and its part of the report."""
