import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.preflight import preflight

with job_log(snakemake.log[0]):
    preflight(
        Path(snakemake.input.network),
        Path(snakemake.input.index).parent,
        snakemake.config,
        Path(snakemake.output[0]),
    )
