from pathlib import Path

from labelsim.log import job_log
from labelsim.stages.moments import moments

index = snakemake.input.get("index")

with job_log(snakemake.log[0]):
    moments(
        Path(snakemake.input.features).parent,
        Path(snakemake.input.network),
        Path(index) if index else None,
        snakemake.config["model"]["classes"],
        Path(snakemake.output[0]).parent,
    )
