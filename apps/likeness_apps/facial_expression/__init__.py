"""Displayed facial expressions, as annotators judge them."""
