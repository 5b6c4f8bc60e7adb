"""Low-shot recognition: base classes that are trained, novel ones known from a few images."""
