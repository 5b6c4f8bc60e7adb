"""Benchmarks of the field: retrieval of classes that nobody trained on."""
