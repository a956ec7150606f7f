# Inputs that are known only once a checkpoint has run. What a checkpoint wrote is compared by content: a scan that
# finds the same images, or a network that turns out the same, starts no extraction. Every list of shards asks for
# both checkpoints, so that what depends on the shards is judged anew after either.


def index(wildcards):
    checkpoints.network.get()
    return checkpoints.shard.get().output.index


def network(wildcards):
    return checkpoints.network.get().output[0]


def shards(wildcards):
    return [shard["name"] for shard in json.loads(Path(index(wildcards)).read_text())["shards"]]


def shard_moments(wildcards):
    return [committed(RUN.shard_moments(shard)) for shard in shards(wildcards)]


def shard_rejects(wildcards):
    return [RUN.rejects(shard) for shard in shards(wildcards)]


def class_ids(wildcards):
    return checkpoints.shard.get().output.class_ids if config["model"]["classes"] == "dataset" else []
