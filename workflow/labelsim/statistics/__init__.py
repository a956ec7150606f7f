"""Moments, Welch's t, similarity and neighbours: arrays in, arrays out; no files, no torch."""
