"""How files are written and verified: Zarr stores, Parquet tables, JSON, digests, locks."""
