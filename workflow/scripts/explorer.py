import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.explorer import explorer

with job_log(snakemake.log[0]):
    explorer(
        {Path(file).stem: Path(file) for file in snakemake.input.tables},
        Path(snakemake.input.similarity).parent,
        Path(snakemake.input.summary),
        Path(snakemake.input.manifest),
        snakemake.config,
        Path(snakemake.output[0]),
    )
