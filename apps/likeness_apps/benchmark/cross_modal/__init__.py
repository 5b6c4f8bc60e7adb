"""Sketches ask photographs, of classes that nobody trained on."""
