import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.stages.wordnet import wordnet

with job_log(snakemake.log[0]):
    wordnet(
        Path(snakemake.input.classes),
        Path(snakemake.input.neighbors),
        Path(snakemake.output.wordnet),
        Path(snakemake.output.wordnet_pairs),
    )
