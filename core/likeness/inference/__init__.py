"""The inference room: a picklable Predictor, readouts of embeddings, resumable tables.

Import from the modules: `shards` and what it needs start without torch.
"""
