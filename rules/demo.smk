# The demo's images and network, made without a download. A run on data of its own asks for neither.


rule demo_digits:
    output:
        directory("results/demo-data/digits"),
        reference="results/demo-data/segments.csv",
    log:
        "results/demo-data/logs/digits.log",
    conda:
        "../workflow/envs/compute.yaml"
    script:
        "../workflow/scripts/demo_digits.py"


rule demo_network:
    output:
        "results/demo-data/resnet18.pth",
        metrics="results/demo-data/resnet18.json",
    log:
        "results/demo-data/logs/network.log",
    conda:
        "../workflow/envs/compute.yaml"
    threads: 1
    script:
        "../workflow/scripts/demo_network.py"
