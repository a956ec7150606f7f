"""Runs of the workflow itself, by Snakemake in processes of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import forked

REPOSITORY = Path(__file__).parents[1]
TARGETS = ("features", "tables", "all", "default")  # rules that make nothing themselves
# Jobs import torch: without its compiled modules that takes three times as long.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Outcome:
    """How a run of Snakemake ended, and what it said."""

    code: int
    output: str

    @property
    def jobs(self) -> list[str]:
        """The jobs that were started (or would be, in a dry run), such as "scan" or "heatmap gap", sorted."""
        started = re.findall(r"^ *(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", self.output, re.MULTILINE)
        jobs = [(rule, re.search(r"wildcards: \w+=(.*)", body)) for rule, body in started if rule not in TARGETS]
        return sorted(f"{rule} {wildcard[1]}" if wildcard else rule for rule, wildcard in jobs)


def arguments(folder: Path, *options: str, repository: Path = REPOSITORY) -> list[str]:
    """What Snakemake is called with to run the workflow in a folder, with its config.yaml if it has one."""
    config = folder / "config.yaml"
    chosen = ["--configfile", str(config)] if config.exists() else []
    snakefile = str(repository / "Snakefile")
    # Other tests keep the cores busy: threads of one job would wait for each other.
    threads = ["--set-threads", "extract=1", "demo_network=1"]
    # --cores comes last: the others would take a target that follows them for one more value.
    return ["--snakefile", snakefile, "--directory", str(folder), *chosen, *threads, "--cores", "2", *options]


def snakemake(folder: Path, *options: str, repository: Path = REPOSITORY) -> Outcome:
    """Run the workflow to its end, with the package that lies beside its Snakefile."""
    paths = [str(repository / "workflow"), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
    with NamedTemporaryFile("r", encoding="utf-8") as output:
        code = forked.snakemake(arguments(folder, *options, repository=repository), environment, Path(output.name))
        return Outcome(code, output.read())


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the workflow in a session, and so a process group, of its own; what it says goes to output.log."""
    with (
        (folder / "output.log").open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments(folder, *options)],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        yield process


def contents(results: Path) -> dict[str, bytes]:
    """All files that hold results of a run, by their paths."""
    files = [*results.rglob("*.parquet"), *results.glob("*.json"), *results.glob("shards/*.json")]
    files += [path for path in results.rglob("*.zarr/**/*") if path.is_file()]
    return {str(path.relative_to(results)): path.read_bytes() for path in files}
