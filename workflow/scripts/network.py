from pathlib import Path

from labelsim.log import job_log
from labelsim.stages.network import network

config = snakemake.config

with job_log(snakemake.log[0]):
    network(
        config["model"],
        config["probe"],
        config["similarity"],
        snakemake.params.identity,
        Path(snakemake.output[0]),
    )
