rule class_figure:
    input:
        neighbors=RUN.neighbors,
        classes=RUN.classes,
        examples=RUN.analysis("examples") if config["analysis"]["examples"]["enabled"] else [],
        # Which images there are is the index's business; a new scan of the same ones draws nothing.
        index=index,
        manifest=lambda wildcards: index(wildcards) and ancient(RUN.manifest),
    output:
        report(
            RUN.class_figure("{figure}"),
            caption="../workflow/report/neighbors.rst",
            category="Similar labels",
            labels=lambda wildcards: {"class": FIGURES[wildcards.figure]},
        ),
    log:
        RUN.log("report/neighbors/{figure}"),
    conda:
        "../workflow/envs/report.yaml"
    params:
        label=lambda wildcards: FIGURES[wildcards.figure],
        code=code("class_figure"),
    script:
        "../workflow/scripts/class_figure.py"


rule heatmap:
    input:
        settled(committed(RUN.similarity)),
    output:
        report(
            RUN.heatmap("{method}"),
            caption="../workflow/report/heatmap.rst",
            category="Similarity matrices",
            labels={"method": "{method}"},
        ),
    log:
        RUN.log("report/heatmaps/{method}"),
    conda:
        "../workflow/envs/report.yaml"
    params:
        code=code("heatmap"),
    script:
        "../workflow/scripts/heatmap.py"


rule explorer:
    input:
        similarity=settled(committed(RUN.similarity)),
        summary=RUN.summary,
        tables=[RUN.neighbors, RUN.classes, *rules.analysis.input],
        index=index,
        manifest=lambda wildcards: index(wildcards) and ancient(RUN.manifest),
    output:
        report(RUN.explorer, caption="../workflow/report/explorer.rst", category="Explorer"),
    log:
        RUN.log("report/explorer"),
    conda:
        "../workflow/envs/report.yaml"
    params:
        identity=identity("explorer", config),
        code=code("explorer"),
        assets=assets_digest(),
    script:
        "../workflow/scripts/explorer.py"
