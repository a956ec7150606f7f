"""How far a run is, for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from labelsim.jobs.clock import advice
from labelsim.jobs.progress import Progress, ShardProgress, State

__all__ = ["draw"]

_LABEL = 16  # characters of a shard's name
_BAR = 18
_STATES: dict[State, str] = {
    "finished": "finished",
    "running": "being extracted",
    "silent": "silent",
    "waiting": "waiting",
}


def draw(folder: Path, progress: Progress) -> RenderableType:
    """Draw how far a run is: all images, then what there is to say of them, then a bar for each unfinished shard.

    Parameters
    ----------
    folder : Path
        The run's folder.
    progress : Progress
        As `read_progress` returns it.

    Returns
    -------
    RenderableType
        Of a few lines, and one for each shard that was started and is not finished.
    """
    where = "finished" if progress.stage == "finished" else f"at the stage {progress.stage}"
    facts = _grid()
    for label, text in _facts(progress).items():
        facts.add_row(label, escape(text))
    parts: list[RenderableType] = [f"[bold]{escape(str(folder))}[/bold] is {where}", ""]
    if progress.shards:
        total = _bars()
        total.add_row("images", *_bar(progress.done, progress.images))
        parts.append(total)
    parts.append(facts)
    if started := progress.having("running", "silent"):
        shards = _bars()
        for shard in started:
            shards.add_row(shard.name, *_bar(shard.done, shard.images), _pace(shard))
        parts += ["", shards]
    return Group(*parts)


def _facts(progress: Progress) -> dict[str, str]:
    """Lines under the bar of all images, by their labels."""
    if not progress.shards:
        return {"shards": "none yet: the images are cut into shards after the scan", **_made(progress)}
    counts = {words: len(progress.having(state)) for state, words in _STATES.items()}
    facts = {"shards": ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)}
    if progress.seconds_left is not None:
        facts["rate"] = f"{_number(progress.rate)} images a second, about {_duration(progress.seconds_left)} left"
    if part := advice(progress.seconds, progress.device):
        facts["waits for" if progress.having("running") else "waited for"] = part
    share = f" ({100 * progress.rejected / progress.done:.2f} % of those done)" if progress.rejected else ""
    facts["rejected"] = f"{progress.rejected:,}{share}"
    if silent := progress.having("silent"):
        longest = max(silent, key=lambda shard: shard.idle)
        log = f"logs/extract/{longest.name}.log"
        facts["silent"] = f"nothing recorded for {_duration(longest.idle)}: the job was stopped, or waits ({log})"
    return {**facts, **_made(progress)}


def _made(progress: Progress) -> dict[str, str]:
    return {"made" if progress.made else "": ", ".join(progress.made)}


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_LABEL, no_wrap=True)
    return grid


def _bars() -> Table:
    grid = _grid()
    grid.add_column(width=_BAR)
    for _ in range(3):
        grid.add_column(justify="right", no_wrap=True)
    return grid


def _bar(done: int, images: int) -> tuple[RenderableType, str, str]:
    # Rounded down: 100 % is when all is done.
    percent = 100 * done // images if images else 100
    return ProgressBar(max(images, 1), done, width=_BAR), f"{done:,} of {images:,}", f"{percent} %"


def _pace(shard: ShardProgress) -> str:
    if shard.state == "silent":
        return f"silent {_duration(shard.idle)}"
    return f"{_number(shard.rate)}/s" if shard.rate else "starting"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours = round(seconds / 3600)
    if minutes < 1:
        return "a minute"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
