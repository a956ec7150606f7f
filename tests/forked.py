"""Snakemake in processes that are forked where it is imported already: that takes longer than to find nothing to do."""

import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["snakemake.cli"])


def snakemake(arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
    """Run Snakemake's command line to its end, what it says into a file: its exit code."""
    process = _CONTEXT.Process(target=_main, args=(arguments, environment, output))
    process.start()
    process.join()
    return process.exitcode


def _main(arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
    from snakemake.cli import main

    with output.open("wb") as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    main(list(arguments))
