import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.merge import merge_shards

with job_log(snakemake.log[0]):
    merge_shards(
        [Path(path).parent for path in snakemake.input.moments],
        [Path(path) for path in snakemake.input.rejects],
        Path(snakemake.input.index),
        snakemake.config["extract"]["max_reject_fraction"],
        Path(snakemake.output[0]).parent,
    )
