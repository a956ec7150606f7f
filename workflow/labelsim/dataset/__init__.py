"""Which images there are, of which class, and in which order."""
