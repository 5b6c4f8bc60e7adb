"""likeness: how similar are two images? One deep-metric-learning core."""

__version__ = "0.1.0"
