"""What the benchmarks share: time, peak memory, and a table in which each figure stands beside its goal."""

from __future__ import annotations

import csv
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Result", "in_turn", "keep", "measured", "path", "ratio", "seconds", "show", "write"]

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Result:
    """One figure.

    Attributes
    ----------
    what : str
        What was measured.
    figure : float
        Its value.
    unit : str
        Its unit; "x" for a ratio within this run.
    goal : str
        What it should be, such as ">= 0.95"; empty where it only informs.
    met : str
        "yes" or "no"; empty without a goal.
    """

    what: str
    figure: float
    unit: str
    goal: str = ""
    met: str = ""

    @classmethod
    def of(cls, what: str, figure: float, unit: str, goal: str = "") -> Result:
        """Hold a figure against its goal: ">= number" or "<= number"."""
        met = ""
        if goal:
            sign, bound = goal.split()
            met = "yes" if (figure >= float(bound) if sign == ">=" else figure <= float(bound)) else "no"
        return cls(what, float(f"{figure:.4g}"), unit, goal, met)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of several pieces of work, done in turn so that a slow moment of the machine meets all of them."""
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
    return {name: [one[name] for one in rounds] for name in works}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of how many times as long one took as the other."""
    return median(a / b for a, b in zip(slow, fast, strict=True))


def measured(work: Callable[..., Any], *args: object) -> tuple[Any, float, float]:
    """Call in a fresh process; return the result, the seconds and the most memory that it held, in MB."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, work, args).result()


def _measured(work: Callable[..., Any], args: Sequence[object]) -> tuple[Any, float, float]:
    started = time.perf_counter()
    result = work(*args)
    return result, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def path(name: str, device: str = "cpu") -> Path:
    """The file for a benchmark's results in this environment."""
    return FOLDER / f"{name}-{platform.machine()}-{os.cpu_count()}cores-{device}-python{platform.python_version()}.csv"


def write(name: str, results: Sequence[Result], device: str = "cpu") -> None:
    """Print the results, and keep them as CSV under the benchmark's name and the environment's."""
    keep(name, [asdict(result) for result in results], device)
    show(results)


def keep(name: str, rows: Sequence[Mapping[str, Any]], device: str = "cpu") -> None:
    """Keep rows as CSV under the benchmark's name and the environment's."""
    FOLDER.mkdir(exist_ok=True)
    with path(name, device).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def show(results: Sequence[Result]) -> None:
    """Print the results."""
    width = max(len(result.what) for result in results)
    for result in results:
        verdict = f"   goal {result.goal}: {'met' if result.met == 'yes' else 'MISSED'}" if result.goal else ""
        print(f"{result.what:{width}}  {result.figure:>10,.4g} {result.unit:8}{verdict}")
