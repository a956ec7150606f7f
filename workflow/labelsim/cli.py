"""The command `labelsim`: show a network's layers, a run's progress and its results; compare runs; verify files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pyarrow.compute import field
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from labelsim.config import read
from labelsim.dataset.classes import find_class
from labelsim.errors import LabelsimError
from labelsim.jobs.progress import read_progress
from labelsim.methods import METHODS
from labelsim.network.layer_groups import layer_groups
from labelsim.report.status import draw
from labelsim.run import open_run

__all__ = ["main"]

_METHODS = 3  # columns that fit on a terminal
_EVERY = 3.0  # seconds between updates of a watched run

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command; a LabelsimError is printed without a traceback."""
    try:
        app()
    except LabelsimError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@app.command()
def layers(
    configfile: Annotated[Path, typer.Option(help="The configuration of a run.")] = Path("config/config.yaml"),
) -> None:
    """Show the layers that a run would probe."""
    from labelsim.network.model import load_model  # imports torch, which the other commands do not need
    from labelsim.network.repeatability import check_repeatable

    if not configfile.exists():
        raise LabelsimError(f"{configfile} does not exist; give the configuration of a run with --configfile")
    config = read(configfile)
    model = load_model(config["model"], config["probe"])
    check_repeatable(model)
    table = Table("layer", "channels")
    table.columns[1].justify = "right"
    for layer in model.layers:
        table.add_row(escape(layer.name), f"{layer.channels:,}")
    groups = layer_groups([layer.name for layer in model.layers], config["similarity"]["layer_groups"])
    console = _console()
    console.print(table)
    for name, members in list(groups.items())[1:]:
        console.print(f"group {name}: {len(members)} layers", markup=False)
    for name, reason in model.skipped:
        console.print(f"left out: {name}: {reason}", markup=False)
    if model.missing:
        advice = "" if model.at == "activation" else "; or set probe.at to activation or auto"
        console.print(
            f"note: welch, gap and others need layers; similarity.methods: [hidden] does not{advice}", markup=False
        )
    for note in model.notes:
        console.print(f"note: {note}", markup=False)
    console.print(
        f"{len(model.layers)} layers, {sum(layer.channels for layer in model.layers):,} channels; "
        f"hidden state: {model.hidden_units:,} units, the input of {model.head}; {model.outputs:,} outputs; "
        f"input {' x '.join(map(str, model.input_shape))}",
        markup=False,
    )


@app.command()
def top(
    classes: Annotated[
        list[str], typer.Argument(metavar="CLASS...", help="Name, id, synonym or unambiguous part of a name.")
    ],
    run: Annotated[Path, typer.Option(help="The run's folder, such as results/demo.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of similar classes.")] = 9,
    method: Annotated[list[str] | None, typer.Option(help="A method; default: the run's first three.")] = None,
    group: Annotated[str, typer.Option(help="Layer group.")] = "all",
) -> None:
    """Show the most similar classes of one or more classes, and how stable that is."""
    results = open_run(run)
    table = results.neighbors()
    if Path(results.paths.analysis("stability")).exists():
        stability = results.analysis("stability")
        if stability.select(table.column_names).equals(table):  # else it is outdated
            table = stability
    if not len(table):
        raise LabelsimError(f"{run}: no class has neighbors; fewer than two classes have usable images")
    present = [name for name in METHODS if name in table["method"].unique().to_pylist()]
    methods = _chosen(method, present, "method")[: None if method else _METHODS]
    _chosen([group], table["group"].unique().to_pylist(), "group")
    known = results.classes().to_pydict()
    for query in classes:
        index = find_class(query, known["class_id"], known["class_name"])
        rows = table.filter((field("class_index") == index) & field("group").isin([group, "all"])).to_pylist()
        _console().print(_top_table(_label(known, index), rows, methods, group, k))
        most = max((row["rank"] for row in rows), default=k)
        if most < min(k, len(known["class_id"]) - 1):
            _console().print(f"note: the run has only {most} for each class (neighbors.k)", markup=False)
        if note := known["notes"][index]:
            _console().print(f"note: {note}", markup=False)
    if "stderr" in table.column_names:
        _console().print(
            "± standard error; 7/8: among the most similar in 7 of 8 replicates, each without some of the images",
            markup=False,
        )
    if others := [name for name in present if name not in methods and not method]:
        _console().print(f"other methods (--method): {', '.join(others)}", markup=False)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run's folder, such as results/demo.", show_default=False)],
    run_b: Annotated[Path, typer.Argument(help="Another run's folder.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of nearest classes.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how far two runs agree, by method: of two networks, or of two datasets.

    Classes are the same if their ids are; others are left out. spearman is the rank correlation over all pairs of
    classes. overlap is the share of the k nearest classes that both runs have in common, averaged over classes, with a
    95 % bootstrap interval.
    """
    from labelsim.analysis import agreement  # imports SciPy, which the other commands do not need
    from labelsim.storage.zarr_store import open_store

    first, second = (open_store(Path(open_run(run).paths.similarity)) for run in (run_a, run_b))
    rows = agreement.compare(first, second, k).to_pylist()
    if as_json:
        print(json.dumps({"run_a": str(run_a), "run_b": str(run_b), "k": k, "agreement": rows}, indent=2))
        return
    title = f"The {k} nearest classes in {run_a} and {run_b}"
    table = Table("method", "group", "classes", "spearman", "overlap", title=escape(title), title_justify="left")
    for column in table.columns[2:4]:
        column.justify = "right"
    for row in rows:
        spearman, overlap, low, high = (
            "" if row[name] is None else f"{row[name]:.3f}" for name in ("spearman", "overlap", "low", "high")
        )
        interval = f"  ({low} to {high})" if low else ""
        table.add_row(row["method"], escape(row["group"]), f"{row['classes']:,}", spearman, overlap + interval)
    _console().print(table)


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="The run's folder, such as results/demo.", show_default=False)],
    watch: Annotated[bool, typer.Option("--watch", help="Update every few seconds until the run is finished.")] = False,
) -> None:
    """Show the progress of a run, wherever its jobs run."""
    console = _console()
    if not watch:
        console.print(draw(run, read_progress(run)))
        return
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while (progress := read_progress(run)).stage != "finished":
            live.update(draw(run, progress), refresh=True)
            time.sleep(_EVERY)
        live.update(draw(run, progress), refresh=True)


@app.command()
def check(
    run: Annotated[Path, typer.Argument(help="The run's folder, such as results/demo.", show_default=False)],
) -> None:
    """Verify all files of a run: list damaged, missing and outdated files, and the command that makes them again."""
    from labelsim import check as checking  # imports zarr and xarray, which the other commands do not need

    terminal = Console(stderr=True)
    findings = checking.check(
        run,
        watch=lambda paths: track(paths, "check", console=terminal, transient=True, disable=not sys.stderr.isatty()),
    )
    print("\n".join(findings.lines()))
    if not findings.ok:
        raise typer.Exit(1)


def _top_table(title: str, rows: Sequence[dict[str, Any]], methods: Sequence[str], group: str, k: int) -> Table:
    """A column a method, a line a rank."""
    table = Table("", *methods, title=f"Most similar to {escape(title)}", title_justify="left")
    # The hidden state has no layers, so it has the group `all` only.
    columns = [
        [
            row
            for row in rows
            if row["method"] == method and row["group"] == (group if METHODS[method].by_layer else "all")
        ]
        for method in methods
    ]
    for rank in range(min(k, max(map(len, columns), default=0))):
        cells = [_cell(column[rank]) if rank < len(column) else "" for column in columns]
        table.add_row(str(rank + 1), *cells)
    return table


def _cell(row: dict[str, Any]) -> str:
    stability = ""
    if row.get("stderr") is not None:
        stability = f" ± {row['stderr']:.3f}  {row['folds_in_top_k']}/{row['folds']}"
    return f"{row['similarity']:+.3f}{stability}  {escape(row['neighbor_name'])}"


def _label(known: dict[str, list[Any]], index: int) -> str:
    name, id_ = known["class_name"][index], known["class_id"][index]
    return name if name == id_ else f"{name} ({id_})"


def _chosen(wanted: list[str] | None, present: list[str], what: str) -> list[str]:
    unknown = [name for name in wanted or [] if name not in present]
    if unknown:
        raise LabelsimError(f"--{what}: the run has no {unknown[0]!r}; it has {', '.join(present)}")
    return wanted or present


def _console() -> Console:
    terminal = sys.stdout.isatty()
    # A pipe has no width, so nothing is wrapped.
    return Console(width=None if terminal else 10_000, soft_wrap=not terminal, highlight=False)
