"""The workflow on a real Slurm, with jobs that are cancelled, killed and pre-empted."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import slurm
import toy
from slurm import ask
from workflows import ENVIRONMENT, contents


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := slurm.missing():
        pytest.skip(f"no Slurm: {reason}")
    folder = tmp_path_factory.mktemp("slurm")
    yield {**ENVIRONMENT, **slurm.up(folder)}
    slurm.down(folder)


def running(cluster: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The shards that are being extracted: id of the job and its node."""
    lines = ask(cluster, "squeue", "-h", "-t", "RUNNING", "-o", "%i %N %k").splitlines()
    jobs = [line.split() for line in lines if "rule_extract_wildcards_" in line]
    return {comment.removeprefix("rule_extract_wildcards_"): (job, node) for job, node, comment in jobs}


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(0.05)


def test_jobs_that_are_cancelled_killed_and_preempted_are_recovered(base, tmp_path, cluster):
    folder = toy.write(tmp_path / "slurm")
    (folder / "hold").touch()
    results, log = folder / "results/toy", folder / "output.log"
    with slurm.snakemake(folder, cluster, partition="low") as process:
        wait_until(lambda: len(chunks(results)) == 3 and len(running(cluster)) == 3, process, log)
        shards = dict(sorted(chunks(results).items()))
        (cancelled, killed, preempted), jobs = shards, running(cluster)
        ask(cluster, "scancel", jobs[cancelled][0])
        job_process(killed).kill()
        wait_until(lambda: again(cluster, cancelled, jobs) and again(cluster, killed, jobs), process, log)
        job, node = running(cluster)[preempted]
        ask(cluster, "sbatch", "-p", "gpu", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "true")
        wait_until(lambda: "Restarts=1" in ask(cluster, "scontrol", "show", "job", job), process, log)
        (folder / "hold").unlink()
        process.wait(timeout=150)
    said = log.read_text(encoding="utf-8")
    assert process.returncode == 0, said
    assert f"SLURM-job '{jobs[cancelled][0]}' failed, SLURM status is: 'CANCELLED'" in said
    assert f"SLURM-job '{jobs[killed][0]}' failed, SLURM status is: 'FAILED'" in said
    for shard, done in shards.items():
        stats = json.loads((results / f"features/{shard}.stats.json").read_text(encoding="utf-8"))
        assert stats["images_resumed"] >= 8 * done
    assert contents(results) == contents(base / "results/toy")
    states = ask(cluster, "scontrol", "-o", "show", "jobs").splitlines()
    (last,) = [line for line in states if f"rule_extract_wildcards_{cancelled} " in line and "COMPLETED" in line]
    # A GPU of its own, and more memory the second time.
    assert re.search(r"TresPerJob=gres.gpu:1\b", last)
    assert "mem=48000M" in last


def chunks(results: Path) -> dict[str, int]:
    """Number of chunks of each shard that has some."""
    lines = {path.stem: path.read_bytes().count(b"\n") - 1 for path in results.glob("features/*.journal")}
    return {shard: number for shard, number in lines.items() if number > 0}


def again(cluster: dict[str, str], shard: str, jobs: dict[str, tuple[str, str]]) -> bool:
    """Whether a shard is being extracted by another job than before."""
    return running(cluster).get(shard, jobs[shard])[0] != jobs[shard][0]


def job_process(shard: str) -> psutil.Process:
    """The process in which a shard is extracted."""
    for process in psutil.process_iter(["cmdline", "open_files"]):
        script = any(part.endswith(".extract.py") for part in process.info["cmdline"] or [])
        if script and any(file.path.endswith(f"{shard}.log") for file in process.info["open_files"] or []):
            return process
    raise LookupError(shard)
