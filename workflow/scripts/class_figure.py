from pathlib import Path

from labelsim.jobs.log import job_log
from labelsim.stages.class_figure import class_figure

with job_log(snakemake.log[0]):
    class_figure(
        snakemake.params.label,
        Path(snakemake.input.neighbors),
        Path(snakemake.input.classes),
        Path(snakemake.input.manifest),
        snakemake.config["dataset"],
        Path(snakemake.output[0]),
    )
