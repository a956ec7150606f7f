import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.stability import stability

with job_log(snakemake.log[0]):
    stability(
        Path(snakemake.input.neighbors),
        {name: Path(file).parent for name, file in snakemake.input.items() if name != "neighbors"},
        Path(snakemake.output.stability),
        Path(snakemake.output.class_stability),
    )
