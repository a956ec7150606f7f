import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.examples import examples

with job_log(snakemake.log[0]):
    examples(
        [Path(path).parent for path in snakemake.input.features],
        Path(snakemake.input.moments).parent,
        Path(snakemake.input.neighbors),
        Path(snakemake.input.evidence) if snakemake.input.evidence else None,
        snakemake.config["analysis"]["examples"],
        Path(snakemake.output.examples),
        Path(snakemake.output.evidence_images),
    )
