"""Similar known cases: the nearest training lesions of an image."""
