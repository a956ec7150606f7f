"""Interruptions of a running workflow at random moments, what each must say, and what mends it.

As a program, a soak test: interrupts run after run, as often as asked for, and tells how each of them came out.

    python tests/interruptions.py --count 50 --seed 1
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil
import slurm
import toy
from workflows import ENVIRONMENT, contents, snakemake, started

DISK = 64  # MiB


@dataclass
class Trial:
    """A run of the toy dataset on a disk of its own, and its interruptions.

    Attributes
    ----------
    expected : dict
        The contents of an uninterrupted run's results.
    kept : dict
        Chunks that each shard that was being extracted had at the last interruption.
    orphans : list
        Jobs whose Snakemake was killed.
    options : list
        What the next run of Snakemake is to be given.
    """

    folder: Path
    expected: dict[str, bytes]
    random: Random
    kept: dict[str, int] = field(default_factory=dict)
    orphans: list[psutil.Process] = field(default_factory=list)
    options: list[str] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results/toy"

    def progress(self) -> int:
        """Number of files that the run has so far."""
        return sum(len(files) for _, _, files in os.walk(self.results))

    def interrupt(self, kind: str) -> str:
        """Start the workflow, interrupt it at a random moment, mend what the interruption broke; say how it went."""
        # Seldom near the end, which it would reach before the interruption does.
        done = self.progress()
        moment = self.random.randint(done + 1, max(done + 1, (done + len(self.expected)) // 2))
        options, self.options = self.options, []
        with started(self.folder, *options) as process:
            while process.poll() is None and self.progress() < moment:
                time.sleep(0.002)
            if process.poll() is None:
                time.sleep(self.random.choice([0, self.random.uniform(0, 0.3)]))  # the moment itself is what is random
            acted = process.poll() is None and KINDS[kind](self, process)
            self._wait(process)
        output = (self.folder / "output.log").read_text(encoding="utf-8")
        if not acted:
            assert process.returncode == 0, output
            self.check_resumed()
            return "too late"
        MENDS.get(kind, lambda trial: None)(self)
        self.check_resumed()
        # A job whose Snakemake was killed goes on by itself: nothing of its shard is resumed.
        self.kept = {} if any(map(_alive, self.orphans)) else self.half_done()
        if process.returncode == 0:
            return "finished in spite of it"
        missing = [words for words in SAYS[kind] if not any(word in output for word in words)]
        assert not missing, f"{kind}: expected one of {missing[0]} in:\n{output}"
        return (
            f"{sum(self.kept.values())} chunks of {len(self.kept)} shards kept" if self.kept else "between the shards"
        )

    def finish(self) -> None:
        """Run to the end; every file must be that of the uninterrupted run."""
        outcome = snakemake(self.folder, *self.options)
        assert outcome.code == 0, outcome.output
        _, alive = psutil.wait_procs(self.orphans, timeout=120)
        assert not alive
        self.check_resumed()
        found = contents(self.results)
        assert found.keys() == self.expected.keys()
        assert [name for name in found if found[name] != self.expected[name]] == []
        again = snakemake(self.folder)
        assert "Nothing to be done" in again.output, again.output

    def half_done(self) -> dict[str, int]:
        """Number of chunks of the shards of which some are written, but not all."""
        journals = {path.stem: path.read_bytes().count(b"\n") - 1 for path in self.results.glob("features/*.journal")}
        return {shard: n for shard, n in journals.items() if n > 0 and not self._committed(shard)}

    def check_resumed(self) -> None:
        """What was kept of a shard that is finished by now was not computed again."""
        for shard in [shard for shard in self.kept if self._committed(shard)]:
            stats = json.loads((self.results / f"features/{shard}.stats.json").read_text(encoding="utf-8"))
            # Chunks have 8 images, the last of a shard maybe fewer.
            assert stats["images_resumed"] > 8 * (self.kept.pop(shard) - 1)

    def _committed(self, shard: str) -> bool:
        return (self.results / f"features/{shard}.zarr/zarr.json").exists()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def jobs(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes in which a workflow's jobs run."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if any(".snakemake/scripts/" in part for part in child.cmdline()[:2]):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def to_workflow(number: signal.Signals) -> Callable[[Trial, subprocess.Popen[bytes]], bool]:
    def send(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
        process.send_signal(number)
        return True

    return send


def to_all(number: signal.Signals) -> Callable[[Trial, subprocess.Popen[bytes]], bool]:
    def send(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
        os.killpg(process.pid, number)
        return True

    return send


def kill_job(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
    while process.poll() is None:
        if found := jobs(process):
            trial.random.choice(found).kill()
            return True
    return False


def kill_snakemake(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
    trial.orphans += psutil.Process(process.pid).children(recursive=True)
    process.kill()
    return True


def unlock(trial: Trial) -> None:
    assert snakemake(trial.folder, "--unlock").code == 0


def fill_disk(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
    with (trial.folder / "results/ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return True


def empty_disk(trial: Trial) -> None:
    (trial.folder / "results/ballast").unlink()


def make_read_only(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
    # Refused while a file is open for writing, as it is by most jobs.
    while process.poll() is None:
        if mount("-o", "remount,ro", str(trial.folder / "results")):
            return True
    return False


def make_writable(trial: Trial) -> None:
    assert mount("-o", "remount,rw", str(trial.folder / "results"))


def damage_shard(trial: Trial, process: subprocess.Popen[bytes]) -> bool:
    if tables := sorted(trial.results.glob("shards/*.parquet")):
        os.truncate(trial.random.choice(tables), 100)
    return bool(tables)


def remake_shard(trial: Trial) -> None:
    trial.options = ["--forcerun", "shard"]


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


KINDS: dict[str, Callable[[Trial, subprocess.Popen[bytes]], bool]] = {
    "SIGINT to all (Ctrl-C)": to_all(signal.SIGINT),
    "SIGINT to Snakemake": to_workflow(signal.SIGINT),
    "SIGTERM to Snakemake": to_workflow(signal.SIGTERM),
    "SIGTERM to all": to_all(signal.SIGTERM),
    "SIGKILL to a job": kill_job,
    "SIGKILL to Snakemake": kill_snakemake,
    "SIGKILL to all": to_all(signal.SIGKILL),
    "full disk": fill_disk,
    "read-only results": make_read_only,
    "damaged shard file": damage_shard,
}
MENDS: dict[str, Callable[[Trial], None]] = {
    "SIGKILL to Snakemake": unlock,
    "SIGKILL to all": unlock,
    "full disk": empty_disk,
    "read-only results": make_writable,
    "damaged shard file": remake_shard,
}
# Of each tuple, one must be said. What is killed says nothing.
SAYS: dict[str, list[tuple[str, ...]]] = {
    # Before its first job, Snakemake itself has only a traceback to say.
    "SIGINT to all (Ctrl-C)": [("it continues from here", "KeyboardInterrupt")],
    "SIGINT to Snakemake": [("it continues from here", "KeyboardInterrupt")],
    "SIGTERM to Snakemake": [("Will exit after finishing currently running jobs",)],
    "SIGTERM to all": [("it continues from here", "Will exit after finishing currently running jobs")],
    "SIGKILL to a job": [("Error in rule",)],
    "SIGKILL to Snakemake": [],
    "SIGKILL to all": [],
    "full disk": [("There is no space left on the disk", "No space left on device")],
    "read-only results": [("The file system is read-only", "cannot be written to", "Read-only file system")],
    "damaged shard file": [("is damaged", "damage")],
}


def uninterrupted(folder: Path) -> dict[str, bytes]:
    """Contents of the results of a run that nothing interrupts."""
    outcome = snakemake(toy.write(folder))
    assert outcome.code == 0, outcome.output
    return contents(folder / "results/toy")


def soak(count: int, seed: int, folder: Path) -> None:
    """Interrupt so often, and print how each interruption came out."""
    random = Random(seed)
    expected = uninterrupted(folder / "uninterrupted")
    trial = Trial(toy.write(folder / "run"), expected, random)
    (trial.folder / "results").mkdir()
    own_disk = mount("-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(trial.folder / "results"))
    kinds = [kind for kind in KINDS if own_disk or kind not in ("full disk", "read-only results")]
    if not own_disk:
        print("No disk of its own can be mounted here: neither filled nor made read-only.")
    outcomes: Counter[str] = Counter()
    runs = interrupted = 0
    started_at = time.monotonic()
    try:
        while interrupted < count:
            runs += 1
            for kind in random.sample(kinds, 5):
                outcome = trial.interrupt(kind)
                print(f"{time.monotonic() - started_at:6.0f} s  run {runs:3}  {kind:24} {outcome}", flush=True)
                if outcome in ("too late", "finished in spite of it"):
                    break
                interrupted += 1
                outcomes[kind] += 1
            trial.finish()
            print(
                f"{time.monotonic() - started_at:6.0f} s  run {runs:3}  finished: every file as uninterrupted",
                flush=True,
            )
            for path in (trial.results, trial.folder / ".snakemake"):
                shutil.rmtree(path)
            trial.kept, trial.orphans, trial.options = {}, [], []
    finally:
        if own_disk:
            subprocess.run(["umount", str(trial.folder / "results")], check=False)
    print(
        f"\n{interrupted} interruptions in {runs} runs; after all of them every file was that of the uninterrupted run:"
    )
    for kind, number in outcomes.most_common():
        print(f"{number:4}  {kind}")


def soak_on_slurm(count: int, folder: Path, expected: dict[str, bytes], random: Random) -> Counter[str]:
    """Interrupt runs on a Slurm of this machine so often; count the kinds."""
    cluster = {**ENVIRONMENT, **slurm.up(folder / "cluster")}
    outcomes: Counter[str] = Counter()
    run = folder / "slurm"
    toy.write(run)
    try:
        while outcomes.total() < count:
            while not _finished_on_slurm(run, cluster, outcomes, count, random):
                assert snakemake(run, "--unlock").code == 0
            while slurm.ask(cluster, "squeue", "-h"):  # jobs of a Snakemake that was killed
                time.sleep(0.5)
            assert contents(run / "results/toy") == expected
            print("             finished on Slurm: every file as uninterrupted", flush=True)
            shutil.rmtree(run / "results")
            shutil.rmtree(run / ".snakemake")
    finally:
        slurm.down(folder / "cluster")
    return outcomes


def _finished_on_slurm(run: Path, cluster: dict[str, str], outcomes: Counter[str], count: int, random: Random) -> bool:
    """Run the workflow on Slurm and interrupt it until it ends; whether it came to its end."""
    with slurm.snakemake(run, cluster) as process:
        while process.poll() is None:
            time.sleep(random.uniform(1, 20))
            jobs = slurm.ask(cluster, "squeue", "-h", "-t", "RUNNING", "-o", "%i %k").splitlines()
            if not jobs or outcomes.total() >= count:
                continue
            kind = random.choice(
                ["scancel", "scancel", "requeue, as of a pre-empted job", "SIGKILL to Snakemake on Slurm"]
            )
            job, comment = random.choice(jobs).split()
            if kind.startswith("SIGKILL"):
                process.kill()  # its jobs run on
            else:
                with suppress(subprocess.CalledProcessError):  # it has just ended
                    slurm.ask(cluster, *(["scancel", job] if kind == "scancel" else ["scontrol", "requeue", job]))
            outcomes[kind] += 1
            print(f"             {kind:32} {comment}", flush=True)
        return process.wait() == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="how many interruptions")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the random moments; another one each time if not given"
    )
    arguments = parser.parse_args()
    chosen = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {chosen}")
    with tempfile.TemporaryDirectory() as temporary:
        soak(arguments.count, chosen, Path(temporary))
