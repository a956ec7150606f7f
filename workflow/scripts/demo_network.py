from pathlib import Path

from labelsim.jobs.log import job_log
from labelsim.stages.demo import train

with job_log(snakemake.log[0]):
    train(Path(snakemake.output[0]), Path(snakemake.output.metrics), threads=snakemake.threads)
