import json
import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])

from labelsim.jobs.log import job_log
from labelsim.jobs.provenance import identity

with job_log(snakemake.log[0]):
    from labelsim.stages.extract import extract  # takes seconds, in which an interrupt may come

    extract(
        shard=Path(snakemake.input.shard),
        network=Path(snakemake.input.network),
        store=Path(snakemake.output.store).parent,
        rejects=Path(snakemake.output.rejects),
        stats=Path(snakemake.output.stats),
        config=snakemake.config,
        code=snakemake.params.code,
        threads=snakemake.threads,
        sources=json.loads(identity("network", snakemake.config)).get("files", {}),
    )
