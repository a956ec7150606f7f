import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version


# For `--sdm conda`, where labelsim and what it needs are not installed beside Snakemake.
conda: workflow.source_path("workflow/envs/snakefile.yaml")


# In a clone, the package lies beside this file.
sys.path.insert(0, str(Path(workflow.current_basedir.get_path_or_uri(secret_free=True)) / "workflow"))

try:
    from labelsim.config import check_files, load
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}. Install labelsim beside Snakemake, or run a clone with --sdm conda; docs/install.md says how"
    ) from None
from labelsim.dataset.paths import expand as expand_source
from labelsim.storage.json_files import read_document
from labelsim.errors import LabelsimError
from labelsim.jobs.gpus import visible_gpus
from labelsim.jobs.interrupt import end_if_interrupted, handle_termination, stop_jobs_on_interrupt
from labelsim.jobs.log import last_errors
from labelsim.storage.locks import check_claim, claim_run, claim_time
from labelsim.network.specs import weights_file
from labelsim.jobs.provenance import code, identity
from labelsim.methods import stores
from labelsim.report.explorer.page import assets_digest
from labelsim.jobs.pipeline import PACKAGE
from labelsim.run import Paths, committed, figure_names, reported_warning

min_version("9.27")


report: "workflow/report/workflow.rst"


# Jobs import the package whose code the rules' params describe, in whichever environment they run.
os.environ.update(LABELSIM_PACKAGE=str(PACKAGE))

# Jobs share cores with the processes that decode images for them: torch's threads must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A network allocates the same large blocks in every batch: keep them, as returning them to the system takes time.
for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(name, str(1 << 32))


# A config file given on the command line, or by a Snakefile that includes this one, stands alone: the demo's is not read
# beneath it.
if not workflow.overwrite_configfiles and not workflow.configfiles:

    configfile: workflow.source_path("config/config.yaml")


# Used with --sdm apptainer only: docs/containers.md.
container: os.environ.get("LABELSIM_IMAGE", "labelsim.sif")


include: "rules/demo.smk"


try:
    config.update(load(config))
    check_files(config, made=[*rules.demo_digits.output, *rules.demo_network.output])
    RUN = Paths(f"results/{config['run']}")
    check_claim(Path(RUN.manifest))  # a job that is started late must delete nothing of a newer run
except LabelsimError as error:
    raise WorkflowError(str(error)) from None

# On a cluster each extraction asks for a GPU, on this machine only if it has one.
GPU = 1 if not workflow.local_exec or visible_gpus(os.environ) else 0
METHOD_STORES = stores(config["similarity"]["methods"])
FIGURES = figure_names(config["report"]["classes"])


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/features.smk"
include: "rules/statistics.smk"
include: "rules/analysis.smk"
include: "rules/report.smk"


onstart:
    stop_jobs_on_interrupt()
    handle_termination()
    try:
        claim_run(Path(RUN.root))
    except LabelsimError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    if warning := reported_warning(Path(RUN.summary)):
        print(f"\nWARNING: {warning}", file=sys.stderr)


onerror:
    end_if_interrupted()
    if errors := last_errors(Path(RUN.root) / "logs", claim_time(Path(RUN.root))):
        print("", *errors, sep="\n", file=sys.stderr)


# What to ask for by name, in the order in which it is made; without a name, for all.
rule features:
    input:
        shard_features,


rule tables:
    input:
        RUN.neighbors,
        RUN.classes,
        RUN.summary,


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.analysis.input,
        expand(RUN.class_figure("{figure}"), figure=FIGURES),
        expand(RUN.heatmap("{method}"), method=config["similarity"]["methods"]),
        RUN.explorer if config["report"]["explorer"]["enabled"] else [],
