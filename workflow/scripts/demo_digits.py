from pathlib import Path

from labelsim.jobs.log import job_log
from labelsim.stages.demo import write_digits

with job_log(snakemake.log[0]):
    write_digits(Path(snakemake.output[0]))
