import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log

with job_log(snakemake.log[0]):
    from labelsim.stages.head import head  # takes seconds, in which an interrupt may come

    head(
        Path(snakemake.input[0]),
        snakemake.config["model"],
        snakemake.config["probe"],
        Path(snakemake.output[0]).parent,
    )
