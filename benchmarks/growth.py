"""How each stage's time and memory grow with the images and the classes, with features as large as ResNet34's.

Images 1x, 4x and 16x, in shards of a fixed size; classes 1x and 4x. The figure `growth-<environment>.png` shows it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import matplotlib as mpl
import pipeline
import results

mpl.use("Agg")
from matplotlib import pyplot as plt

IMAGES, CLASSES, SHARD = 512, 50, 512
STEPS = (1, 4, 16)
STAGES = (*pipeline.STAGES, *pipeline.ANALYSES)
BETWEEN = 4  # the images with which classes grow


def main() -> None:
    """Measure, write and draw."""
    by_images = {step: measure(step * IMAGES, CLASSES) for step in STEPS}
    by_classes = {1: by_images[BETWEEN], 4: measure(BETWEEN * IMAGES, 4 * CLASSES)}
    found = []
    for what, steps in (("images", by_images), ("classes", by_classes)):
        for step, stages in sorted(steps.items()):
            for stage, (seconds, memory) in stages.items():
                found.append(results.Result.of(f"{stage}, {step}x {what}: time", seconds, "s"))
                found.append(results.Result.of(f"{stage}, {step}x {what}: memory", memory, "MB"))
    most = {step: max(memory for _, memory in stages.values()) for step, stages in by_images.items()}
    found.append(
        results.Result.of("most memory of any stage, 16x against 1x images", most[16] / most[1], "x", "<= 1.25")
    )
    slope = {stage: by_images[16][stage][0] / by_images[4][stage][0] for stage in ("extract", "moments")}
    for stage, factor in slope.items():
        found.append(results.Result.of(f"{stage}: time, 16x against 4x images (4 is linear)", factor, "x", "<= 4.4"))
    results.write("growth", found)
    draw(by_images, by_classes)


def measure(images: int, classes: int) -> dict[str, tuple[float, float]]:
    """Seconds and MB of each stage."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline.plant(folder, images, classes)
        return pipeline.run(folder, pipeline.config(folder, SHARD), os.cpu_count() or 1, STAGES)


def draw(by_images: dict[int, dict], by_classes: dict[int, dict]) -> None:
    """Draw time and memory against both."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex="col", sharey="row", layout="constrained")
    columns = (("images", IMAGES, by_images), (f"classes, with {BETWEEN * IMAGES:,} images", CLASSES, by_classes))
    for column, (what, unit, steps) in enumerate(columns):
        for stage in STAGES:
            # The same colors twice, with another line.
            number = STAGES.index(stage) % len(pipeline.STAGES)
            line = {"color": f"C{number}", "label": stage}
            line |= {"marker": "s", "linestyle": "--"} if stage in pipeline.ANALYSES else {"marker": "o"}
            points = [(step * unit, *stages[stage]) for step, stages in sorted(steps.items())]
            numbers, seconds, memory = zip(*points, strict=True)
            axes[0, column].loglog(numbers, seconds, **line)
            axes[1, column].semilogx(numbers, memory, **line)
        axes[1, column].set_xlabel(what)
        for row in axes[:, column]:
            row.set_xticks([step * unit for step in sorted(steps)], [f"{step * unit:,}" for step in sorted(steps)])
            row.minorticks_off()
            row.grid(alpha=0.3)
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("seconds, all shards")
    axes[1, 0].set_ylabel("most memory of one job, MB")
    figure.legend(handles=axes[0, 0].get_lines(), loc="outside right center", frameon=False)
    figure.suptitle("Growth of the stages, 8,512 channels and 512 hidden units")
    figure.savefig(results.path("growth", "cpu").with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
