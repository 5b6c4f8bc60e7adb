"""Exact blocked search, which evaluation uses too, and faiss indexes on disk."""
