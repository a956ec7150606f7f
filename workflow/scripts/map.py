import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.map import maps

with job_log(snakemake.log[0]):
    maps(
        Path(snakemake.input.similarity).parent,
        Path(snakemake.input.neighbors),
        Path(snakemake.output.map),
        Path(snakemake.output.tree),
    )
