"""The noun synsets of WordNet 3.0 as a table, its licence, and the script that makes the table."""
