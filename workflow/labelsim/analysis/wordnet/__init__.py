"""The noun synsets of WordNet 3.0 as a table, its licence, the script that makes the table, and what reads it."""

from pathlib import Path

__all__ = ["NOUNS"]

NOUNS = Path(__file__).with_name("nouns.parquet")
