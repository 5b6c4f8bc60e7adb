"""Skin lesions in dermoscopic images: train, evaluate, score by the ISIC rules, explain."""
