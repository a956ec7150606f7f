import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.heatmap import heatmap

with job_log(snakemake.log[0]):
    heatmap(Path(snakemake.input[0]).parent, snakemake.wildcards.method, Path(snakemake.output[0]))
