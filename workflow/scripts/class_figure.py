import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.class_figure import class_figure

with job_log(snakemake.log[0]):
    class_figure(
        snakemake.params.label,
        Path(snakemake.input.neighbors),
        Path(snakemake.input.classes),
        Path(snakemake.input.manifest),
        Path(snakemake.input.examples) if snakemake.input.examples else None,
        snakemake.config["dataset"],
        Path(snakemake.output[0]),
    )
