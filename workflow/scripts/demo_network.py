import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.demo_network import demo_network

with job_log(snakemake.log[0]):
    demo_network(Path(snakemake.output[0]), Path(snakemake.output.metrics), threads=snakemake.threads)
