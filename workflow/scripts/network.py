import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log

config = snakemake.config

with job_log(snakemake.log[0]):
    from labelsim.stages.network import network  # takes seconds, in which an interrupt may come

    network(
        config["model"],
        config["probe"],
        snakemake.params.identity,
        Path(snakemake.output[0]),
    )
