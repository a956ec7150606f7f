import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.jobs.provenance import version
from labelsim.stages.significance import significance

with job_log(snakemake.log[0]):
    significance(
        welch=Path(snakemake.input.welch).parent,
        moments=Path(snakemake.input.moments).parent,
        network=Path(snakemake.input.network),
        config=snakemake.config,
        version=version(),
        output=Path(snakemake.output.channels),
        by_class=Path(snakemake.output.class_significance),
    )
