import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.moments import moments

class_ids = snakemake.input.get("class_ids")

with job_log(snakemake.log[0]):
    moments(
        Path(snakemake.input.features).parent,
        Path(snakemake.input.network),
        Path(class_ids) if class_ids else None,
        snakemake.config["model"]["classes"],
        Path(snakemake.output[0]).parent,
    )
