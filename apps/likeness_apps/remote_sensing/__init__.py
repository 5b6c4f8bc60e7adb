"""Aerial and satellite scenes: recognise, train, evaluate and search them."""
