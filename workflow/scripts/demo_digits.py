from pathlib import Path

from labelsim.demo import write_digits
from labelsim.log import job_log

with job_log(snakemake.log[0]):
    write_digits(Path(snakemake.output[0]))
