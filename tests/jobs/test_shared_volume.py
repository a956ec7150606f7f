"""Jobs that start in folders of their own, as in clouds, by an executor that declares that they share no files."""

import os
import subprocess
import sys

import small
from workflows import ENVIRONMENT, REPOSITORY


def snakemake(module, folder, *options):
    paths = [REPOSITORY / "workflow", REPOSITORY / "tests/pods"]
    options = ["--workflow-profile", "none", "--executor", "pods", "--jobs", "1", "--latency-wait", "60", *options]
    files = ["--snakefile", REPOSITORY / "Snakefile", "--configfile", "config.yaml"]
    return subprocess.run(
        [sys.executable, "-m", module, *files, *options],
        cwd=folder,
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_snakemake_alone_asks_for_an_object_store(tmp_path):
    folder = small.write(tmp_path / "run")
    done = snakemake("snakemake", folder, "--shared-fs-usage", "input-output", "sources", "--dry-run")
    assert done.returncode != 0
    assert "--default-storage-provider" in done.stdout + done.stderr


def test_jobs_find_on_the_volume_what_other_jobs_wrote(tmp_path):
    folder = small.write(tmp_path / "run")
    index = "results/small/shards/index.json"
    shared = ("--precommand", f"cd {folder}", "--default-resources", "mem_mb=1000", "--", index)
    done = snakemake("labelsim.jobs.shared_volume", folder, *shared)
    assert done.returncode == 0, done.stderr
    assert (folder / index).exists()
    # no rule's output, so nothing but the volume can bring it to the extraction
    assert len(list(folder.glob("results/small/shards/*.parquet"))) >= 2
