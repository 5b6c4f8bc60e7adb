"""Four applications of the likeness core."""
