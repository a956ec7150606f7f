# Inputs that are known only after the checkpoints. What a checkpoint writes is compared by content, and jobs that ask for
# it are checked again after it: a scan that finds the same images, or a network that is the same, reruns nothing.
# The checkpoints are asked for in the same order everywhere: otherwise Snakemake (9.27) keeps jobs in a group that it
# has replaced since, and stops without an error. The preflight is asked for last: its errors come before the first
# image is read, and as a checkpoint it hides no reason to run from the jobs after it.


def cut(wildcards):
    checkpoints.network.get()
    return checkpoints.shard.get().output.index


def index(wildcards):
    found = cut(wildcards)
    checkpoints.preflight.get()
    return found


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
