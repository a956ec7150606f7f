import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.shard import shard

config = snakemake.config

with job_log(snakemake.log[0]):
    shard(
        Path(snakemake.input.manifest),
        config["extract"]["images_per_shard"],
        config["dataset"]["class_names"],
        Path(snakemake.output.index),
    )
