rule scan:
    input:
        # The folder's time says nothing of what lies deeper: its state is part of the identity.
        ancient(source_files),
    output:
        RUN.manifest,
    log:
        RUN.log("scan"),
    conda:
        "../workflow/envs/statistics.yaml"
    threads: 8 if config["dataset"]["content_digest"] else 1
    params:
        identity=lambda wildcards: identity("scan", config),
        code=code("scan"),
    script:
        "../workflow/scripts/scan.py"


checkpoint shard:
    input:
        manifest=RUN.manifest,
    output:
        index=RUN.index,
        class_ids=RUN.class_ids,
    log:
        RUN.log("shard"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=lambda wildcards: identity("shard", config),
        code=code("shard"),
    script:
        "../workflow/scripts/shard.py"
