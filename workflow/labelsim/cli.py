"""The command `labelsim`: a new run and what it would use; its progress and results; images, other runs, and files."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from pyarrow.compute import field
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from labelsim import __version__
from labelsim.config import check_files, read
from labelsim.dataset.classes import class_names, find_class
from labelsim.errors import LabelsimError
from labelsim.jobs import pipeline
from labelsim.jobs.progress import read_progress
from labelsim.methods import ALIASES, METHODS
from labelsim.network.layer_groups import layer_groups
from labelsim.report.channels import draw_evidence, draw_images, draw_layers, draw_significance
from labelsim.report.stability import STABILITY, decimals_of, similarity_text
from labelsim.report.status import draw
from labelsim.run import open_run

__all__ = ["main"]

_METHODS = 3  # columns that fit on a terminal
_EVERY = 3.0  # seconds between updates of a watched run

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        print(f"labelsim {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; a LabelsimError is printed without a traceback."""
    try:
        app()
    except LabelsimError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """The options before a command."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, such as my-run.", show_default=False)],
) -> None:
    """Write a Snakefile, a config file and profiles for a run of your own; nothing is overwritten."""
    for path in pipeline.init(folder):
        print(f"wrote {path}")
    print(
        "Next:\n"
        f"  cd {shlex.quote(str(folder))}\n"
        "  edit config/config.yaml: where the images are, and which network\n"
        "  labelsim layers\n"
        "  snakemake --cores all --dry-run\n"
        "  snakemake --cores all"
    )


@app.command()
def layers(
    configfile: Annotated[Path, typer.Option(help="The configuration of a run.")] = Path("config/config.yaml"),
) -> None:
    """Show the layers that a run would probe.

    The network is built with its weights, and its features are checked to repeat. No image is looked at: see
    `labelsim classes`.
    """
    from labelsim.network.model import load_model  # imports torch, which the other commands do not need
    from labelsim.network.repeatability import check_repeatable

    config = _read(configfile)
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
def classes(
    configfile: Annotated[Path, typer.Option(help="The configuration of a run.")] = Path("config/config.yaml"),
) -> None:
    """Show the classes that a run would have: ids, names and numbers of images; and which of them it would draw.

    The images are listed as in a run, and nothing is written. The network is not built: see `labelsim layers`.
    """
    import numpy as np

    from labelsim.stages.scan import listed  # imports what the other commands do not need

    config = _read(configfile)
    check_files(config)
    _, format, listing = listed(config["dataset"])
    table_of_names = config["dataset"]["class_names"]
    names = class_names(listing.classes, None if table_of_names == "auto" else Path(table_of_names))
    images = np.bincount(listing.samples["class_index"].to_numpy(), minlength=len(names))
    console, table = _console(), Table("class_id", "class_name", "images")
    table.columns[2].justify = "right"
    for id_, name, number in zip(listing.classes, names, images, strict=True):
        table.add_row(escape(id_), escape(name), f"{number:,}")
    console.print(table)
    for kind, number in listing.skipped.items():
        console.print(f"note: ignored {number:,} {kind}", markup=False)
    for kind, number in listing.notes.items():
        console.print(f"note: {number:,} {kind}", markup=False)
    unknown = []
    for label in config["report"]["classes"]:
        try:
            index = find_class(label, listing.classes, names)
        except LabelsimError as error:
            unknown.append(f"report.classes: {error}")
        else:
            known = {"class_id": listing.classes, "class_name": names}
            console.print(f"report.classes: {label!r} is {_label(known, index)}", markup=False)
    console.print(f"{len(names):,} classes, {images.sum():,} images ({format})", markup=False)
    if unknown:
        raise LabelsimError("\n".join(unknown))


@app.command()
def top(
    classes: Annotated[
        list[str], typer.Argument(metavar="CLASS...", help="Name, id, synonym or unambiguous part of a name.")
    ],
    run: Annotated[Path, typer.Option(help="The run's folder, such as results/demo.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of similar classes.")] = 9,
    method: Annotated[
        list[str] | None, typer.Option(help="A method, or S, H or P; default: the run's first three.")
    ] = None,
    group: Annotated[str, typer.Option(help="Layer group.")] = "all",
) -> None:
    """Show the most similar classes of one or more classes, and how stable that is."""
    results = open_run(run)
    table = results.stable_neighbors()
    if not len(table):
        raise LabelsimError(f"{run}: no class has neighbors; fewer than two classes have usable images")
    present = [name for name in METHODS if name in table["method"].unique().to_pylist()]
    methods = _chosen(_named(method), present, "method")[: None if method else _METHODS]
    _chosen([group], table["group"].unique().to_pylist(), "group")
    without = [name for name in methods if not METHODS[name].by_layer] if group != "all" else []
    if method and without == methods:
        raise _no_groups(methods[0])
    known = results.classes().to_pydict()
    for query in classes:
        index = find_class(query, known["class_id"], known["class_name"])
        rows = table.filter((field("class_index") == index) & field("group").isin([group, "all"])).to_pylist()
        columns = _columns(rows, methods, group, k)
        _console().print(_top_table(_label(known, index), methods, columns))
        most = max((row["rank"] for row in rows), default=k)
        if most < min(k, len(known["class_id"]) - 1):
            _console().print(f"note: the run has only {most} for each class (neighbors.k)", markup=False)
        if note := known["notes"][index]:
            _console().print(f"note: {note}", markup=False)
        if tied := [name for name, column in zip(methods, columns, strict=True) if _tied(column)]:
            note = "some similarities are equal; these classes are in the dataset's order, and 8/8 may mean only that"
            _console().print(f"note: {', '.join(tied)}: {note}", markup=False)
    for name in without:
        _console().print(f"note: {name} has no layer groups; --group does not apply to it", markup=False)
    if "stderr" in table.column_names:
        _console().print(STABILITY, markup=False)
    if others := [name for name in present if name not in methods and not method]:
        _console().print(f"other methods (--method): {', '.join(others)}", markup=False)


@app.command()
def evidence(
    class_: Annotated[str, typer.Argument(metavar="CLASS", help="As for `labelsim top`.")],
    neighbor: Annotated[str, typer.Argument(metavar="NEIGHBOR", help="Any other class.")],
    run: Annotated[Path, typer.Option(help="The run's folder, such as results/demo.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of channels.")] = 10,
    method: Annotated[
        str | None, typer.Option(help="A method that compares channels; default: the run's first.")
    ] = None,
    group: Annotated[str, typer.Option(help="Layer group.")] = "all",
    images: Annotated[
        int, typer.Option(min=0, help="List so many images of each class, those that activate each channel most.")
    ] = 0,
) -> None:
    """Show the channels and layers that make two classes alike.

    The contributions of all channels, and those of all layers, add up to the similarity. Images are listed by
    activation, not by relevance: they need not show what makes the classes alike.
    """
    from labelsim.analysis.activations import highest_activations  # imports xarray, which `top` does not need
    from labelsim.analysis.evidence import between

    results = open_run(run)
    settings = results.provenance()["similarity"]
    present = [name for name in settings["methods"] if METHODS[name].by_channel]
    if not present:
        raise LabelsimError(f"{run}: no method of this run compares channels; add welch to similarity.methods")
    method = _chosen(_named(None if method is None else [method]), present, "method")[0]
    if group != "all" and not METHODS[method].by_layer:
        raise _no_groups(method)
    _chosen([group], ["all", *settings["layer_groups"]], "group")
    known = results.classes().to_pydict()
    own, other = (find_class(query, known["class_id"], known["class_name"]) for query in (class_, neighbor))
    if own == other:
        raise _one_class(_label(known, own))
    stores = {"moments": results.moments()} | ({"welch": results.welch()} if METHODS[method].store == "welch" else {})
    channels, by_layer = between(stores, method, group, settings["layer_groups"], own, other, k)
    console, labels = _console(), (_label(known, own), _label(known, other))
    similarity = f"{channels['similarity'][0].as_py():+.3f}"
    console.print(f"{method} similarity of {labels[0]} and {labels[1]}: {similarity}", markup=False)
    console.print(draw_evidence(channels), draw_layers(by_layer))
    if images:
        ids = {known["class_id"][index]: known["class_name"][index] for index in (own, other)}
        pairs = channels.select(["layer", "layer_channel"])
        wanted = pa.concat_tables([pairs.append_column("class_id", [[id_] * len(pairs)]) for id_ in ids])
        found = highest_activations(map(results.features, results.shards()), wanted, images)
        console.print(draw_images(channels, found, ids))


@app.command()
def channels(
    class_: Annotated[str, typer.Argument(metavar="CLASS", help="As for `labelsim top`.")],
    run: Annotated[Path, typer.Option(help="The run's folder, such as results/demo.")],
    reference: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Compare with this class instead of with all other images.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of channels.")] = 20,
) -> None:
    """Show the channels in which the images of a class differ most from all others, or from those of another class.

    Sorted by |t|, which grows with the number of images; the effect size does not. Two classes are compared by a
    two-sided test, whatever `analysis.significance.alternative` is.
    """
    from labelsim.analysis.significance import THRESHOLD, between  # imports xarray, which `top` does not need

    results = open_run(run)
    known = results.classes().to_pydict()
    own = find_class(class_, known["class_id"], known["class_name"])
    if reference is None:
        against, tables = "all other images", (results.analysis("channels"), results.analysis("class_significance"))
        table, counts = (table.filter(field("class_index") == own) for table in tables)
    else:
        other = find_class(reference, known["class_id"], known["class_name"])
        if own == other:
            raise _one_class(_label(known, own))
        against, (table, counts) = _label(known, other), between(results.moments(), own, other, k)
    if not len(table):
        raise LabelsimError(
            f"{_label(known, own)} has no channels to test against {against}: both sides need two usable images, and "
            "the network needs layers (`labelsim layers`)"
        )
    console = _console()
    console.print(draw_significance(table.slice(0, k), against))
    (found,) = counts.to_pylist()
    console.print(
        f"q < {THRESHOLD} in {found['up'] + found['down']:,} of {found['channels']:,} channels: "
        f"its mean is higher in {found['up']:,}, lower in {found['down']:,}",
        markup=False,
    )
    if len(table) < min(k, found["channels"]):
        note = f"note: the run has only {len(table)} for each class (analysis.significance.channels)"
        console.print(note, markup=False)


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
def explain(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)],
    run: Annotated[Path, typer.Option(help="The run's folder, such as results/demo.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of labels, classes and channels to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    figure: Annotated[Path | None, typer.Option(help="A PNG file to draw the images and classes in.")] = None,
) -> None:
    """Show what the network of a run makes of images.

    The most probable labels, the labels similar to the first of them, the classes nearest to the image by its hidden
    state h(X) and by its channels A(X), and the channels that make the image similar to the first of these.
    """
    from labelsim.analysis import explain as explaining  # imports torch, which the other commands do not need
    from labelsim.report.explanation import draw_explanation, save_figure

    results = open_run(run)
    found = explaining.explain(results, images, k)
    explained = [explanation for explanation in found if not explanation.reason]
    if figure and explained:
        save_figure(results, explained, figure)
    if as_json:
        print(json.dumps({"run": str(run), "k": k, "images": [asdict(explanation) for explanation in found]}, indent=2))
    console = _console()
    for explanation in found:
        if explanation.reason:
            print(f"{explanation.image}: {explanation.reason}", file=sys.stderr)
        elif not as_json:
            console.print(draw_explanation(explanation))
    if len(explained) < len(found):
        raise typer.Exit(1)


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


@app.command()
def clean(
    run: Annotated[Path, typer.Argument(help="The run's folder, such as results/demo.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Delete them.")] = False,
) -> None:
    """List the files of outdated shards, which nothing reads; delete them with --yes.

    A shard is outdated when its images have changed, or are cut in another way.
    """
    from labelsim.jobs import former  # imports what the other commands do not need

    found = former.former(run)
    table, sizes = Table("", "files", "MB"), []
    for column in table.columns[1:]:
        column.justify = "right"
    for path in found:
        files = former.files_in(path)
        sizes.append(sum(file.stat().st_size for file in files))
        table.add_row(escape(str(path)), f"{len(files):,}", f"{sizes[-1] / 1e6:,.1f}")
    if not found:
        print(f"{run}: no files of outdated shards")
        return
    if yes:
        former.delete_former(run)
    _console().print(table)
    print(f"{sum(sizes) / 1e6:,.1f} MB" + (" deleted" if yes else " to delete, with --yes"))


def _read(configfile: Path) -> dict[str, Any]:
    if not configfile.exists():
        raise LabelsimError(f"{configfile} does not exist; give the configuration of a run with --configfile")
    return read(configfile)


def _columns(rows: Sequence[dict[str, Any]], methods: Sequence[str], group: str, k: int) -> list[list[dict[str, Any]]]:
    """The first k neighbors by each method."""
    # The hidden state has no layers, so it has the group `all` only.
    groups = {method: group if METHODS[method].by_layer else "all" for method in methods}
    return [[row for row in rows if (row["method"], row["group"]) == key][:k] for key in groups.items()]


def _tied(column: Sequence[dict[str, Any]]) -> bool:
    values = [row["similarity"] for row in column]
    return len(set(values)) < len(values)


def _top_table(title: str, methods: Sequence[str], columns: Sequence[Sequence[dict[str, Any]]]) -> Table:
    """A column a method, a line a rank."""
    table = Table("", *methods, title=f"Most similar to {escape(title)}", title_justify="left")
    decimals = [decimals_of([row["similarity"] for row in column]) for column in columns]
    for rank in range(max(map(len, columns), default=0)):
        shown = [column[rank] if rank < len(column) else None for column in columns]
        table.add_row(str(rank + 1), *map(_cell, shown, decimals))
    return table


def _cell(row: dict[str, Any] | None, decimals: int) -> str:
    return f"{similarity_text(row, decimals)}  {escape(row['neighbor_name'])}" if row else ""


def _label(known: dict[str, list[Any]], index: int) -> str:
    name, id_ = known["class_name"][index], known["class_id"][index]
    return name if name == id_ else f"{name} ({id_})"


def _named(methods: list[str] | None) -> list[str] | None:
    """Methods by their names, where the paper's letters may be given."""
    return methods and [ALIASES.get(method, method) for method in methods]


def _chosen(wanted: list[str] | None, present: list[str], what: str) -> list[str]:
    unknown = [name for name in wanted or [] if name not in present]
    if unknown:
        raise LabelsimError(f"--{what}: {unknown[0]!r} is not possible here; expected {', '.join(present)}")
    return list(dict.fromkeys(wanted or present))


def _one_class(label: str) -> LabelsimError:
    return LabelsimError(f"both are the class {label}; name two classes")


def _no_groups(method: str) -> LabelsimError:
    return LabelsimError(f"--group: {method} has no layer groups; leave --group out")


def _console() -> Console:
    terminal = sys.stdout.isatty()
    # A pipe has no width, so nothing is wrapped.
    return Console(width=None if terminal else 10_000, soft_wrap=not terminal, highlight=False)
