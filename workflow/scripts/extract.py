from pathlib import Path

from labelsim.log import job_log
from labelsim.stages.extract import extract

with job_log(snakemake.log[0]):
    extract(
        shard=Path(snakemake.input.shard),
        network=Path(snakemake.input.network),
        store=Path(snakemake.output.store).parent,
        rejects=Path(snakemake.output.rejects),
        stats=Path(snakemake.output.stats),
        config=snakemake.config,
        code=snakemake.params.code,
        threads=snakemake.threads,
    )
