import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.conformal import conformal

with job_log(snakemake.log[0]):
    conformal(
        [Path(path).parent for path in snakemake.input.features],
        Path(snakemake.input.moments).parent,
        Path(snakemake.output[0]).parent,
    )
