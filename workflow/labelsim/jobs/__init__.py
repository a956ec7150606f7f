"""What only Snakemake's jobs need: what identifies a stage, logs, interrupts."""
