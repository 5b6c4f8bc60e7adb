"""The command bodies that the applications share."""
