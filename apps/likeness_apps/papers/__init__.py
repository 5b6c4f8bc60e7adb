"""The papers that the methods come from: their settings, and the way to their figures."""
