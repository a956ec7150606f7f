"""Analyses beyond the paper: each module reads the tables and stores of a run and returns Arrow tables."""
