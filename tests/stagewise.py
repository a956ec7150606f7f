"""A run without Snakemake."""

import json
from pathlib import Path

from labelsim.provenance import identity
from labelsim.run import Paths
from labelsim.stages.extract import extract
from labelsim.stages.merge import merge_shards
from labelsim.stages.moments import moments
from labelsim.stages.neighbors import neighbor_tables
from labelsim.stages.network import network
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.stages.similarity import similarities
from labelsim.stages.welch import welch_statistics


def run_stages(config: dict) -> Paths:
    """Call one stage after the other, as the rules do, in the current folder."""
    run = Paths(f"results/{config['run']}")
    path = {
        name: Path(getattr(run, name)) for name in dir(run) if isinstance(getattr(run, name), str) and name[0] != "_"
    }
    scan(config["dataset"], path["manifest"])
    shard(path["manifest"], config["extract"]["images_per_shard"], "auto", path["index"], path["class_ids"])
    network(config["model"], config["probe"], config["similarity"], identity("network", config), path["network"])
    names = [entry["name"] for entry in json.loads(path["index"].read_text(encoding="utf-8"))["shards"]]
    for name in names:
        features, rejects, stats = (Path(find(name)) for find in (run.features, run.rejects, run.stats))
        extract(Path(run.shard(name)), path["network"], features, rejects, stats, config, code="", threads=1)
        moments(features, path["network"], path["class_ids"], "dataset", Path(run.shard_moments(name)))
    parts = [Path(run.shard_moments(name)) for name in names]
    merge_shards(parts, [Path(run.rejects(name)) for name in names], path["index"], 1.0, path["moments"])
    welch_statistics(path["moments"], path["welch"])
    methods, groups = config["similarity"]["methods"], config["similarity"]["layer_groups"]
    similarities(path["moments"], path["welch"], methods, groups, path["similarity"])
    neighbor_tables(
        path["similarity"], path["moments"], path["network"], config, "", path["neighbors"], path["classes"]
    )
    return run
