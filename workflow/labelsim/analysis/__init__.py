"""Analyses beyond the paper: each module reads the tables and stores of a run, and returns tables or plain values."""
