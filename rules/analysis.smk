# What goes beyond the paper. A rule is switched by `enabled` in the section of its name under `analysis`.


rule stability:
    input:
        neighbors=RUN.neighbors,
        moments=committed(RUN.moments),
        **{name: committed(getattr(RUN, name)) for name in METHOD_STORES if name == "conformal"},
    output:
        stability=RUN.analysis("stability"),
        class_stability=RUN.analysis("class_stability"),
    log:
        RUN.log("analysis/stability"),
    conda:
        "../environment.yml"
    params:
        identity=identity("stability", config),
        code=code("stability"),
    script:
        "../workflow/scripts/stability.py"


rule judgement:
    input:
        similarity=committed(RUN.similarity),
        neighbors=RUN.neighbors,
        reference=config["analysis"]["reference"]["file"] or [],
    output:
        RUN.analysis("judgement"),
    log:
        RUN.log("analysis/judgement"),
    conda:
        "../environment.yml"
    params:
        identity=identity("judgement", config),
        code=code("judgement"),
    script:
        "../workflow/scripts/judgement.py"


rule agreement:
    input:
        similarity=committed(RUN.similarity),
        neighbors=RUN.neighbors,
        reference=config["analysis"]["reference"]["file"] or [],
    output:
        RUN.analysis("agreement"),
    log:
        RUN.log("analysis/agreement"),
    conda:
        "../environment.yml"
    params:
        identity=identity("agreement", config),
        code=code("agreement"),
    script:
        "../workflow/scripts/agreement.py"


rule analysis:
    input:
        [getattr(rules, name).output for name, section in config["analysis"].items() if section.get("enabled")],
