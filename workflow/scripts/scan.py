import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.scan import scan

with job_log(snakemake.log[0]):
    scan(snakemake.config["dataset"], Path(snakemake.output[0]), snakemake.threads)
