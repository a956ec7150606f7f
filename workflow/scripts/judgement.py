import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.judgement import judgement

with job_log(snakemake.log[0]):
    judgement(
        Path(snakemake.input.similarity).parent,
        Path(snakemake.input.neighbors),
        snakemake.config["analysis"]["reference"]["file"],
        Path(snakemake.output[0]),
    )
