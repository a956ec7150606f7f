import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.welch import welch_statistics

with job_log(snakemake.log[0]):
    welch_statistics(Path(snakemake.input[0]).parent, Path(snakemake.output[0]).parent)
