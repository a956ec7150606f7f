"""Figures of the results, and what a run says of its accuracy."""
