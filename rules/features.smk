checkpoint network:
    input:
        weights_file(config["model"]["weights"]) or [],
    output:
        RUN.network,
    log:
        RUN.log("network"),
    conda:
        "../workflow/envs/compute.yaml"
    params:
        identity=lambda wildcards: identity("network", config),
        code=code("network"),
    script:
        "../workflow/scripts/network.py"


checkpoint preflight:
    input:
        network=lambda wildcards: cut(wildcards) and RUN.network,
        index=cut,
        reference=config["analysis"]["reference"]["file"] or [],
    output:
        RUN.preflight,
    log:
        RUN.log("preflight"),
    localrule: True
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=lambda wildcards: identity("preflight", config),
        code=code("preflight"),
    script:
        "../workflow/scripts/preflight.py"


rule extract:
    input:
        # No rule's output: if it is gone, the checkpoint has to be asked for as well.
        shard=lambda wildcards: index(wildcards) and RUN.shard(wildcards.shard),
        network=settled(RUN.network),
    output:
        # The store's chunks are not declared: what a killed job had finished is there for the next one.
        store=committed(RUN.features("{shard}")),
        rejects=RUN.rejects("{shard}"),
        stats=RUN.stats("{shard}"),
    log:
        RUN.log("extract/{shard}"),
    conda:
        "../workflow/envs/compute.yaml"
    threads: 4
    resources:
        gpu=GPU,
    params:
        identity=identity("extract", config),
        code=code("extract"),
    script:
        "../workflow/scripts/extract.py"
