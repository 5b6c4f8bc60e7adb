"""What variants a model found inside the classes, and whether others find them."""
