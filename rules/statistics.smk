rule moments:
    input:
        features=committed(RUN.features("{shard}")),
        network=settled(RUN.network),
        class_ids=class_ids,
    output:
        committed(RUN.shard_moments("{shard}")),
    log:
        RUN.log("moments/{shard}"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=lambda wildcards: identity("moments", config),
        code=code("moments"),
    script:
        "../workflow/scripts/moments.py"


rule merge:
    input:
        moments=shard_moments,
        rejects=shard_rejects,
        index=index,
    output:
        committed(RUN.moments),
    log:
        RUN.log("merge"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("merge", config),
        code=code("merge"),
    script:
        "../workflow/scripts/merge.py"


rule welch:
    input:
        settled(committed(RUN.moments)),
    output:
        committed(RUN.welch),
    log:
        RUN.log("welch"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("welch", config),
        code=code("welch"),
    script:
        "../workflow/scripts/welch.py"


rule conformal:
    input:
        features=lambda wildcards: [committed(RUN.features(shard)) for shard in shards(wildcards)],
        moments=committed(RUN.moments),
    output:
        committed(RUN.conformal),
    log:
        RUN.log("conformal"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("conformal", config),
        code=code("conformal"),
    script:
        "../workflow/scripts/conformal.py"


rule head:
    input:
        settled(RUN.network),
    output:
        committed(RUN.head),
    log:
        RUN.log("head"),
    conda:
        "../workflow/envs/compute.yaml"
    params:
        identity=identity("head", config),
        code=code("head"),
    script:
        "../workflow/scripts/head.py"


rule similarity:
    input:
        **{name: committed(getattr(RUN, name)) for name in METHOD_STORES},
        moments=settled(committed(RUN.moments)),
    output:
        committed(RUN.similarity),
    log:
        RUN.log("similarity"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("similarity", config),
        code=code("similarity"),
    script:
        "../workflow/scripts/similarity.py"


rule neighbors:
    input:
        similarity=committed(RUN.similarity),
        moments=committed(RUN.moments),
        network=settled(RUN.network),
    output:
        neighbors=RUN.neighbors,
        classes=RUN.classes,
        summary=RUN.summary,
    log:
        RUN.log("neighbors"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("neighbors", config),
        code=code("neighbors"),
    script:
        "../workflow/scripts/neighbors.py"
