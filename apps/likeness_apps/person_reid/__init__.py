"""People seen by several cameras: train on tracklets, evaluate by named protocols, search."""
