from pathlib import Path

from labelsim.demo import train
from labelsim.log import job_log

with job_log(snakemake.log[0]):
    train(Path(snakemake.output[0]), Path(snakemake.output.metrics), threads=snakemake.threads)
