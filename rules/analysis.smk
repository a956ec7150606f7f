# What goes beyond the paper. A rule is switched by `enabled` in the section of its name under `analysis`.


rule stability:
    input:
        **{name: committed(getattr(RUN, name)) for name in METHOD_STORES if name == "conformal"},
        neighbors=settled(RUN.neighbors),
        moments=committed(RUN.moments),
    output:
        stability=RUN.analysis("stability"),
        class_stability=RUN.analysis("class_stability"),
    log:
        RUN.log("analysis/stability"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("stability", config),
        code=code("stability"),
    script:
        "../workflow/scripts/stability.py"


rule evidence:
    input:
        neighbors=settled(RUN.neighbors),
        moments=committed(RUN.moments),
        welch=committed(RUN.welch) if "welch" in METHOD_STORES else [],
    output:
        evidence=RUN.analysis("evidence"),
        evidence_layers=RUN.analysis("evidence_layers"),
    log:
        RUN.log("analysis/evidence"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("evidence", config),
        code=code("evidence"),
    script:
        "../workflow/scripts/evidence.py"


rule significance:
    input:
        welch=settled(committed(RUN.welch)),
        moments=committed(RUN.moments),
        network=settled(RUN.network),
    output:
        channels=RUN.analysis("channels"),
        class_significance=RUN.analysis("class_significance"),
    log:
        RUN.log("analysis/significance"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("significance", config),
        code=code("significance"),
    script:
        "../workflow/scripts/significance.py"


rule judgement:
    input:
        similarity=committed(RUN.similarity),
        neighbors=settled(RUN.neighbors),
        reference=config["analysis"]["reference"]["file"] or [],
    output:
        RUN.analysis("judgement"),
    log:
        RUN.log("analysis/judgement"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=lambda wildcards: identity("judgement", config),
        code=code("judgement"),
    script:
        "../workflow/scripts/judgement.py"


rule agreement:
    input:
        similarity=committed(RUN.similarity),
        neighbors=settled(RUN.neighbors),
        reference=config["analysis"]["reference"]["file"] or [],
    output:
        RUN.analysis("agreement"),
    log:
        RUN.log("analysis/agreement"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=lambda wildcards: identity("agreement", config),
        code=code("agreement"),
    script:
        "../workflow/scripts/agreement.py"


rule examples:
    input:
        features=lambda wildcards: [committed(RUN.features(shard)) for shard in shards(wildcards)],
        moments=committed(RUN.moments),
        neighbors=settled(RUN.neighbors),
        evidence=RUN.analysis("evidence") if config["analysis"]["evidence"]["enabled"] else [],
    output:
        examples=RUN.analysis("examples"),
        evidence_images=RUN.analysis("evidence_images"),
    log:
        RUN.log("analysis/examples"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("examples", config),
        code=code("examples"),
    script:
        "../workflow/scripts/examples.py"


rule wordnet:
    input:
        classes=RUN.classes,
        neighbors=settled(RUN.neighbors),
    output:
        wordnet=RUN.analysis("wordnet"),
        wordnet_pairs=RUN.analysis("wordnet_pairs"),
    log:
        RUN.log("analysis/wordnet"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=lambda wildcards: identity("wordnet", config),
        code=code("wordnet"),
    script:
        "../workflow/scripts/wordnet.py"


rule map:
    input:
        similarity=committed(RUN.similarity),
        neighbors=settled(RUN.neighbors),
    output:
        map=RUN.analysis("map"),
        tree=RUN.analysis("tree"),
    log:
        RUN.log("analysis/map"),
    conda:
        "../workflow/envs/statistics.yaml"
    params:
        identity=identity("map", config),
        code=code("map"),
    script:
        "../workflow/scripts/map.py"


rule analysis:
    input:
        [getattr(rules, name).output for name, section in config["analysis"].items() if section.get("enabled")],
