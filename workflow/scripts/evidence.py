import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.evidence import evidence

stores = {name: Path(file).parent for name, file in snakemake.input.items() if file and name != "neighbors"}

with job_log(snakemake.log[0]):
    evidence(
        Path(snakemake.input.neighbors),
        stores,
        snakemake.config["analysis"]["evidence"]["channels"],
        Path(snakemake.output.evidence),
        Path(snakemake.output.evidence_layers),
    )
