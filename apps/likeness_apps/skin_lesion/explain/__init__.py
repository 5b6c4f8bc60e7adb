"""`explain`: maps over an image, its similar cases, and what both are not."""
