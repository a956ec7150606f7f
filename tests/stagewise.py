"""A run without Snakemake: equal bit for bit to one with it."""

import json
from collections.abc import Mapping
from pathlib import Path

from labelsim.jobs.provenance import code, identity, version
from labelsim.methods import stores
from labelsim.run import Paths
from labelsim.stages.agreement import agreement
from labelsim.stages.conformal import conformal
from labelsim.stages.evidence import evidence
from labelsim.stages.examples import examples
from labelsim.stages.extract import extract
from labelsim.stages.head import head
from labelsim.stages.judgement import judgement
from labelsim.stages.map import maps
from labelsim.stages.merge import merge_shards
from labelsim.stages.moments import moments
from labelsim.stages.neighbors import neighbor_tables
from labelsim.stages.network import network
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.stages.significance import significance
from labelsim.stages.similarity import similarities
from labelsim.stages.stability import stability
from labelsim.stages.welch import welch_statistics
from labelsim.stages.wordnet import wordnet
from labelsim.storage.json_files import read_document, write_document


def run_stages(config: dict, weights: Mapping[str, object] | None = None) -> Paths:
    """Call one stage after the other, as the rules do, in the current folder.

    What the publisher of a network's weights says of them (`network.json`) can be given in `weights`.
    """
    run = Paths(f"results/{config['run']}")
    path = {
        name: Path(getattr(run, name)) for name in dir(run) if isinstance(getattr(run, name), str) and name[0] != "_"
    }
    scan(config["dataset"], path["manifest"])
    shard(path["manifest"], config["extract"]["images_per_shard"], config["dataset"]["class_names"], path["index"])
    network(config["model"], config["probe"], identity("network", config), path["network"])
    description = read_document(path["network"])
    write_document(path["network"], description | {"information": description["information"] | (weights or {})})
    names = [entry["name"] for entry in json.loads(path["index"].read_text(encoding="utf-8"))["shards"]]
    for name in names:
        features, rejects, stats = (Path(find(name)) for find in (run.features, run.rejects, run.stats))
        extract(Path(run.shard(name)), path["network"], features, rejects, stats, config, code("extract"), threads=1)
        classes = config["model"]["classes"]
        class_ids = path["class_ids"] if classes == "dataset" else None
        moments(features, path["network"], class_ids, classes, Path(run.shard_moments(name)))
    parts = [Path(run.shard_moments(name)) for name in names]
    merge_shards(parts, [Path(run.rejects(name)) for name in names], path["index"], 1.0, path["moments"])
    methods, groups = config["similarity"]["methods"], config["similarity"]["layer_groups"]
    makers = {
        "welch": lambda output: welch_statistics(path["moments"], output),
        "conformal": lambda output: conformal([Path(run.features(name)) for name in names], path["moments"], output),
        "head": lambda output: head(path["network"], config["model"], config["probe"], output),
    }
    made = {"moments": path["moments"]}
    for store in stores(methods):
        made[store] = path[store]
        makers[store](path[store])
    similarities(made, methods, groups, path["similarity"])
    tables = (path[name] for name in ("neighbors", "classes", "summary"))
    neighbor_tables(path["similarity"], path["moments"], path["network"], config, version(), *tables)
    analyze(run, config)
    return run


def analyze(run: Paths, config: dict) -> None:
    """Call the stages of the analyses that are enabled."""
    enabled = [name for name, section in config["analysis"].items() if section.get("enabled")]
    path = {name: Path(getattr(run, name)) for name in ("moments", "welch", "neighbors", "classes", "similarity")}
    with_welch = "welch" in config["similarity"]["methods"]
    with_conformal = "conformal" in config["similarity"]["methods"]

    def table(name: str) -> Path:
        return Path(run.analysis(name))

    if "significance" in enabled and not with_welch:
        welch_statistics(path["moments"], path["welch"])
    calls = {
        "stability": lambda: stability(
            path["neighbors"],
            {"moments": path["moments"]} | ({"conformal": Path(run.conformal)} if with_conformal else {}),
            table("stability"),
            table("class_stability"),
        ),
        "evidence": lambda: evidence(
            path["neighbors"],
            {"moments": path["moments"]} | ({"welch": path["welch"]} if with_welch else {}),
            config["analysis"]["evidence"]["channels"],
            table("evidence"),
            table("evidence_layers"),
        ),
        "significance": lambda: significance(
            path["welch"],
            path["moments"],
            Path(run.network),
            config,
            version(),
            table("channels"),
            table("class_significance"),
        ),
        "judgement": lambda: judgement(
            path["similarity"], path["neighbors"], config["analysis"]["reference"]["file"], table("judgement")
        ),
        "agreement": lambda: agreement(
            path["similarity"], path["neighbors"], config["analysis"]["reference"]["file"], table("agreement")
        ),
        "examples": lambda: examples(
            [Path(run.features(shard["name"])) for shard in read_document(Path(run.index))["shards"]],
            path["moments"],
            path["neighbors"],
            table("evidence") if "evidence" in enabled else None,
            config["analysis"]["examples"],
            table("examples"),
            table("evidence_images"),
        ),
        "wordnet": lambda: wordnet(path["classes"], path["neighbors"], table("wordnet"), table("wordnet_pairs")),
        "map": lambda: maps(path["similarity"], path["neighbors"], table("map"), table("tree")),
    }
    for name, call in calls.items():
        if name in enabled:
            call()
