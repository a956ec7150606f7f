from pathlib import Path

from labelsim.jobs.log import job_log
from labelsim.stages.similarity import similarities

config = snakemake.config["similarity"]
welch = snakemake.input.get("welch")

with job_log(snakemake.log[0]):
    similarities(
        Path(snakemake.input.moments).parent,
        Path(welch).parent if welch else None,
        config["methods"],
        config["layer_groups"],
        Path(snakemake.output[0]).parent,
    )
