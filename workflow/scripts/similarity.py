import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.similarity import similarities

config = snakemake.config["similarity"]

with job_log(snakemake.log[0]):
    similarities(
        {name: Path(file).parent for name, file in snakemake.input.items() if file},
        config["methods"],
        config["layer_groups"],
        Path(snakemake.output[0]).parent,
    )
