import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.jobs.provenance import version
from labelsim.stages.neighbors import neighbor_tables

with job_log(snakemake.log[0]):
    neighbor_tables(
        similarity=Path(snakemake.input.similarity).parent,
        moments=Path(snakemake.input.moments).parent,
        network=Path(snakemake.input.network),
        config=snakemake.config,
        version=version(),
        neighbors=Path(snakemake.output.neighbors),
        classes=Path(snakemake.output.classes),
        summary=Path(snakemake.output.summary),
    )
