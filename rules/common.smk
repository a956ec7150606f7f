# Inputs that are known, or settled, only once the checkpoints have run. What a checkpoint wrote is compared by content,
# and jobs that ask for it are judged anew after it: a scan that finds the same images, or a network that turns out the
# same, makes nothing run. The checkpoints are asked for in the same order everywhere: otherwise Snakemake (9.27) keeps
# jobs in a group that it has replaced since, and stops half-way without an error.


def index(wildcards):
    checkpoints.network.get()
    return checkpoints.shard.get().output.index


def settled(path):
    return lambda wildcards: index(wildcards) and path


def shards(wildcards):
    return [shard["name"] for shard in read_document(Path(index(wildcards)))["shards"]]


def shard_features(wildcards):
    files = [committed(RUN.features("{shard}")), RUN.rejects("{shard}"), RUN.stats("{shard}")]
    return expand(files, shard=shards(wildcards))


def shard_moments(wildcards):
    return [committed(RUN.shard_moments(shard)) for shard in shards(wildcards)]


def shard_rejects(wildcards):
    return [RUN.rejects(shard) for shard in shards(wildcards)]


def class_ids(wildcards):
    return checkpoints.shard.get().output.class_ids if config["model"]["classes"] == "dataset" else []


# A function, as braces in a path are no wildcards.
def source_files(wildcards):
    return [str(path) for path in expand_source(config["dataset"]["source"])]
