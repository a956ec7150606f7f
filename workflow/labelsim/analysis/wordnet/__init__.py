"""The noun synsets of WordNet 3.0 as a table, its licence, and the script that makes the table."""

from pathlib import Path

__all__ = ["NOUNS"]

NOUNS = Path(__file__).with_name("nouns.parquet")
