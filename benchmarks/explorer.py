"""The explorer page of 1,000 and of 21,841 classes: time to write, size, time to the first view, and memory.

The tables and matrices are planted, with the columns that the page reads; the thumbnails are of generated photos.
Both are about as hard to compress as those of photographs. The time and memory of a visit are those of an installed
Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import photos
import psutil
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, sync_playwright
from results import Result, measured, write
from scipy.cluster import hierarchy

from labelsim.config import load
from labelsim.stages.explorer import explorer
from labelsim.stages.scan import scan
from labelsim.storage.json_files import write_document
from labelsim.storage.parquet import read_table, write_table
from labelsim.storage.zarr_store import Array, Writer

METHODS = ("welch", "hidden", "gap")
LAYERS = [f"layer{block}.{i}.conv{j}" for block in (1, 2, 3, 4) for i in range(5) for j in (1, 2)][:36]
NEIGHBORS, CHANNELS, SIGNIFICANT, THUMBNAILS = 9, 10, 20, 4
PHOTO_CLASSES, PHOTOS = 100, 7  # whose photos the classes share, and how many each has
BRANCHES, TYPICAL = 30, 40  # branches of the tree, and channels that matter for the classes of a branch
CLUSTERED = 5000  # classes, at most, of which there is a matrix in the page
VIEWS = {
    "#class": ".method li",
    "#map": ".plane > canvas",
    "#matrix": "main :is(canvas, .nothing)",
    "#verdict": ".verdict .facts",
}
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def main() -> None:
    """Plant, write and visit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[1000, 21_841])
    parser.add_argument("--keep", type=Path, help="a new folder in which to leave the pages")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for classes in options.classes:
            folder = (options.keep or Path(temporary)) / str(classes)
            folder.mkdir(parents=True)
            config = plant(folder, classes)
            found += measure(folder, classes, config)
    write("explorer", found)


def measure(folder: Path, classes: int, config: Mapping[str, Any]) -> list[Result]:
    """Write the page in a process of its own, and visit it."""
    page = folder / "report/explorer.html"
    _, seconds, memory = measured(write_page, folder, config, page)
    files = [page, *page.with_suffix("").rglob("*")]
    size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    start = page if len(files) == 1 else page.with_suffix("") / "index.html"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        first_view = median(first_neighbors(browser, start) for _ in range(3))
        tour = visited(browser, start)
        browser.close()
    large = classes > 1000
    what = f"{classes:,} classes"
    return [
        Result.of(f"{what}: writing the page", seconds, "s"),
        Result.of(f"{what}: memory of writing it", memory, "MB"),
        Result.of(f"{what}: size", size, "MB", "" if large else "<= 12"),
        Result.of(f"{what}: first view", first_view, "s", "" if large else "<= 2"),
        Result.of(f"{what}: memory after visiting all views", tour, "MB", "" if large else "<= 300"),
    ]


def write_page(folder: Path, config: Mapping[str, Any], page: Path) -> None:
    """Run the stage."""
    tables = {file.stem: file for file in folder.glob("*.parquet") if file.stem != "manifest"}
    explorer(tables, folder / "similarity.zarr", folder / "summary.json", folder / "manifest.parquet", config, page)


def first_neighbors(browser: Browser, page: Path) -> float:
    """Seconds from the start of the navigation until the neighbors of a class are shown."""
    window = browser.new_context(offline=True).new_page()
    started = time.perf_counter()
    window.goto(page.as_uri(), wait_until="commit")
    window.wait_for_selector(VIEWS["#class"])
    seconds = time.perf_counter() - started
    window.context.close()
    return seconds


def visited(browser: Browser, page: Path) -> float:
    """Memory of the page's process after a visit of all views with all methods, in MB.

    Of what it shares with other processes, mostly Chromium's code, its part is counted (the proportional set size).
    """
    context = browser.new_context(offline=True, viewport={"width": 1400, "height": 900})
    window = context.new_page()
    problems: list[str] = []
    window.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    window.on("pageerror", lambda error: problems.append(str(error)))
    window.goto(page.as_uri())
    window.wait_for_selector(VIEWS["#class"])
    for _ in range(20):  # from neighbor to neighbor
        before = window.url
        window.locator("a.neighbor").last.click()
        window.wait_for_url(lambda url, before=before: url != before)
        window.wait_for_selector(VIEWS["#class"])
    window.locator("a.compare").first.click()
    window.wait_for_selector(".evidence .bars li")
    for view in ("#map", "#matrix", "#verdict"):
        window.evaluate("address => { location.hash = address; }", view)
        window.wait_for_selector(VIEWS[view])
        if view != "#verdict" and window.locator("label.select:has-text('Method')").count():
            for method in METHODS:
                window.locator("label.select:has-text('Method') select").select_option(method)
                window.wait_for_selector(VIEWS[view])
                drawn(window)
    memory = max(process.memory_full_info().pss for process in renderers()) / 1e6
    context.close()
    if problems:
        raise SystemExit(f"{page}: {problems}")
    return memory


def drawn(window: Page) -> None:
    """Wait until a frame is drawn."""
    window.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def renderers() -> Iterable[psutil.Process]:
    """Processes of this process's Chromium that hold pages."""
    for process in psutil.Process().children(recursive=True):
        if "--type=renderer" in process.cmdline():
            yield process


def plant(folder: Path, classes: int) -> dict[str, Any]:
    """Write the tables and matrices of a run; its configuration."""
    rng = np.random.default_rng(0)
    config = load({"run": f"classes-{classes}", "dataset": {"source": str(photo_folder(folder))}})
    scan(config["dataset"], folder / "manifest.parquet")
    samples = read_table(folder / "manifest.parquet")
    ids, names = [f"n{number:08}" for number in rng.permutation(10 * classes)[:classes]], long_names(classes, rng)
    branch = rng.integers(0, BRANCHES, classes)
    latent = {name: rng.normal(0, 1, (BRANCHES, 24))[branch] + rng.normal(0, 0.8, (classes, 24)) for name in METHODS}
    latent = {name: values / np.linalg.norm(values, axis=1, keepdims=True) for name, values in latent.items()}
    nearest = {name: neighbors(values) for name, values in latent.items()}
    plant_store(folder / "similarity.zarr", ids, names, latent)
    plant_tables(folder, ids, names, branch, nearest, latent, samples, rng)
    accuracy = {"top1": 0.7331, "top5": 0.9142, "published_top1": 0.73314, "note": "as published"}
    images = {"used": 50 * classes, "rejected": 3}
    run = {"labelsim": "0", "images": images, "classes": classes, "channels": 8512}
    rest = {"neighbors": NEIGHBORS, "accuracy": accuracy, "conformal": None, "warning": None}
    write_document(folder / "summary.json", run | rest)
    return config


def photo_folder(folder: Path) -> Path:
    """Small photos in class folders, a few for each of `PHOTO_CLASSES`."""
    found = photos.class_folders(folder, PHOTOS * PHOTO_CLASSES, PHOTO_CLASSES)
    for file in found.rglob("*.JPEG"):
        with Image.open(file) as image:
            # Sharpened, a thumbnail takes as many bytes as those of ImageNet's photographs: without, a tenth less.
            small = image.resize((photos.WIDTH // 4, photos.HEIGHT // 4)).filter(ImageFilter.SHARPEN)
        small.save(file, quality=90)
    return found


def long_names(classes: int, rng: np.random.Generator) -> list[str]:
    """Names of up to ten words."""
    syllables = np.array(["ba", "con", "der", "ful", "gra", "hip", "lor", "mis", "nel", "pas", "ram", "stur", "tin"])
    words = ["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(2000)]
    return [f"{' '.join(rng.choice(words, rng.integers(1, 11)))} {number}" for number in range(classes)]


def neighbors(latent: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices and similarities of the nearest classes, (C, `NEIGHBORS`) each."""
    index, value = [], []
    for start in range(0, len(latent), 1000):
        block = latent[start : start + 1000] @ latent.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
        best = np.argpartition(-block, NEIGHBORS, axis=1)[:, :NEIGHBORS]
        found = np.take_along_axis(block, best, axis=1)
        order = np.argsort(-found, axis=1)
        index.append(np.take_along_axis(best, order, axis=1))
        value.append(np.take_along_axis(found, order, axis=1))
    return np.concatenate(index), np.concatenate(value).astype(np.float32)


def plant_store(
    path: Path, ids: Sequence[str], names: Sequence[str], latent: Mapping[str, NDArray[np.float64]]
) -> None:
    """The matrices; of very many classes, of which the page reads none, with one column."""
    classes = len(ids)
    columns = classes if classes <= CLUSTERED else 1
    arrays = {
        name: Array(("class", "neighbor"), (classes, columns), "float32")
        if name == "hidden"
        else Array(("group", "class", "neighbor"), (1, classes, columns), "float32")
        for name in METHODS
    }
    texts = {
        f"{side}_{what}": (side, values[:length])
        for side, length in (("class", classes), ("neighbor", columns))
        for what, values in (("id", ids), ("name", names))
    }
    texts["group_name"] = ("group", ["all"])
    arrays |= {name: Array((side,), (len(values),), "str", coordinate=True) for name, (side, values) in texts.items()}
    writer = Writer(path, arrays, "{}")
    for name, (_, values) in texts.items():
        writer.put_whole(name, np.array(values, dtype=object))
    for name, values in latent.items():
        matrix = (values @ values[:columns].T).astype(np.float32)
        writer.put_whole(name, matrix if name == "hidden" else matrix[np.newaxis])
    writer.commit({})


def plant_tables(
    folder: Path,
    ids: Sequence[str],
    names: Sequence[str],
    branch: NDArray[np.int64],
    nearest: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float32]]],
    latent: Mapping[str, NDArray[np.float64]],
    samples: pa.Table,
    rng: np.random.Generator,
) -> None:
    """The tables of the run and of the analyses, with the columns that the page reads."""
    classes = len(ids)
    pairs = classes * NEIGHBORS
    own = np.repeat(np.arange(classes), NEIGHBORS)
    rank = np.tile(np.arange(1, NEIGHBORS + 1), classes)

    def save(name: str, columns: Mapping[str, Any]) -> None:
        metadata = {"model": {"name": "resnet34", "weights": "IMAGENET1K_V1"}, "probe": {"at": "convolution"}}
        metadata["reference"] = "WordNet 3.0"
        arrays = {
            key: pa.array(values, pa.int32() if np.asarray(values).dtype.kind == "i" else None)
            for key, values in columns.items()
        }
        write_table(pa.table(arrays), folder / f"{name}.parquet", metadata)

    def of_methods(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The columns of several methods, one after the other."""
        parts = list(columns.items())
        found: dict[str, Any] = {key: np.concatenate([part[key] for _, part in parts]) for key in parts[0][1]}
        length = [len(next(iter(part.values()))) for _, part in parts]
        found["method"] = texts([name for name, _ in parts], np.repeat(np.arange(len(parts)), length))
        found["group"] = texts(["all"], np.zeros(sum(length), np.int64))
        return found

    values = {name: value.ravel().astype(float) for name, (_, value) in nearest.items()}
    rows = {
        name: {"class_index": own, "rank": rank, "neighbor_index": index.ravel(), "similarity": value.ravel()}
        for name, (index, value) in nearest.items()
    }
    save("neighbors", of_methods(rows))
    for name, row in rows.items():
        error = rng.gamma(2, 0.01, pairs)
        folds = rng.integers(4, 9, pairs)
        row |= {
            "corrected": values[name] - error / 2,
            "stderr": error,
            "low": values[name] - 2 * error,
            "high": values[name] + error,
            "folds": np.full(pairs, 8),
            "folds_in_top_k": folds,
            "rank_min": np.maximum(1, rank - 1),
            "rank_max": rank + 3,
        }
    save("stability", of_methods(rows))
    share = {name: {"class_index": np.arange(classes), "stable": rng.uniform(0, 1, classes)} for name in METHODS}
    save("class_stability", of_methods(share))
    by_layer, by_channel = {}, {}
    for name in ("welch", "gap"):
        index = nearest[name][0].ravel()
        typical = rng.integers(0, 512 * len(LAYERS), (BRANCHES, TYPICAL))
        value = rng.normal(0, 9, (classes, TYPICAL))
        picked = rng.integers(0, TYPICAL, (pairs, CHANNELS))
        channel = typical[branch[own][:, np.newaxis], picked]
        layers = rng.dirichlet(np.ones(len(LAYERS)), pairs) * values[name][:, np.newaxis]
        by_layer[name] = {
            "class_index": np.repeat(own, len(LAYERS)),
            "neighbor_index": np.repeat(index, len(LAYERS)),
            "contribution": layers.ravel(),
            "layer_number": np.tile(np.arange(len(LAYERS)), pairs),
        }
        by_channel[name] = {
            "class_index": np.repeat(own, CHANNELS),
            "neighbor_index": np.repeat(index, CHANNELS),
            "layer_channel": channel.ravel() % 512,
            "contribution": rng.gamma(1, 0.003, pairs * CHANNELS),
            "class_value": value[own[:, np.newaxis], picked].ravel(),
            "neighbor_value": value[index[:, np.newaxis], picked].ravel(),
            "layer_number": channel.ravel() // 512,
        }
    for name, found in (("evidence_layers", of_methods(by_layer)), ("evidence", of_methods(by_channel))):
        save(name, found | {"layer": texts(LAYERS, found.pop("layer_number"))})
    significant = classes * SIGNIFICANT
    save(
        "channels",
        {
            "class_index": np.repeat(np.arange(classes), SIGNIFICANT),
            "rank": np.tile(np.arange(1, SIGNIFICANT + 1), classes),
            "layer": texts(LAYERS, rng.integers(0, len(LAYERS), significant)),
            "layer_channel": rng.integers(0, 512, significant),
            **{key: rng.normal(0, 9, significant) for key in ("t", "log10_q", "mean", "mean_rest", "effect_size")},
        },
    )
    save(
        "classes",
        {
            "class_index": np.arange(classes),
            "class_id": ids,
            "class_name": names,
            "used": np.full(classes, 50),
            "rejected": np.zeros(classes, np.int64),
            "top1": rng.uniform(0.2, 1, classes),
            "top5": rng.uniform(0.8, 1, classes),
            "notes": [""] * classes,
        },
    )
    known = [f"branch {number}" for number in range(BRANCHES)]
    save(
        "wordnet",
        {
            "class_index": np.arange(classes),
            "synonyms": [[name, f"also {name}"] for name in names],
            "branch": texts(known, branch),
        },
    )
    joined = np.unique(np.concatenate([own * classes + index.ravel() for index, _ in nearest.values()]))
    save(
        "wordnet_pairs",
        {
            "class_index": joined // classes,
            "neighbor_index": joined % classes,
            "ancestor": texts(known, rng.integers(0, BRANCHES, len(joined))),
            "wup": rng.uniform(0, 1, len(joined)),
        },
    )
    plant_images(save, classes, by_channel, samples)
    plant_map(save, latent)
    plant_verdict(save)


def plant_images(save: Any, classes: int, by_channel: Mapping[str, Mapping[str, Any]], samples: pa.Table) -> None:
    """Typical images, and two images of each channel of the evidence, for both classes of a pair."""
    ids = np.array(samples["sample_id"].to_pylist(), dtype=object).reshape(PHOTO_CLASSES, PHOTOS)
    own = np.repeat(np.arange(classes), THUMBNAILS)
    place = np.tile(np.arange(THUMBNAILS), classes)
    save("examples", {"class_index": own, "sample_id": ids[own % PHOTO_CLASSES, place]})
    keys = np.unique(
        np.concatenate(
            [
                (found[side] * len(LAYERS) + found["layer_number"]) * 512 + found["layer_channel"]
                for found in by_channel.values()
                for side in ("class_index", "neighbor_index")
            ]
        )
    )
    keys = np.repeat(keys, 2)
    of = keys // (512 * len(LAYERS))
    rank = np.tile([1, 2], len(keys) // 2)
    chosen = ids[of % PHOTO_CLASSES, np.random.default_rng(1).integers(0, PHOTOS, len(keys))]
    save(
        "evidence_images",
        {
            "class_index": of,
            "layer": texts(LAYERS, keys // 512 % len(LAYERS)),
            "layer_channel": keys % 512,
            "rank": rank,
            "sample_id": chosen,
            "activation": np.ones(len(keys), np.float32),
        },
    )


def plant_map(save: Any, latent: Mapping[str, NDArray[np.float64]]) -> None:
    """The map, and the tree of up to `CLUSTERED` classes."""
    maps, trees = [], []
    for name, values in latent.items():
        classes = len(values)
        plane = values[:, :2] - values[:, :2].min(axis=0)
        plane /= plane.max()
        position = np.arange(classes)
        if classes <= CLUSTERED:
            tree = hierarchy.average(values)
            position = np.argsort(hierarchy.leaves_list(tree))
            left, right = tree[:, :2].astype(int).T
            step = np.arange(classes - 1)
            method = texts([name], np.zeros(classes - 1, np.int64))
            trees.append({"method": method, "step": step, "left": left, "right": right, "height": tree[:, 2]})
        method = texts([name], np.zeros(classes, np.int64))
        index = np.arange(classes)
        maps.append({"method": method, "class_index": index, "x": plane[:, 0], "y": plane[:, 1], "position": position})
    for table, parts in (("map", maps), ("tree", trees)):
        if parts:
            save(table, {key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def plant_verdict(save: Any) -> None:
    """Judgement by three measures and the agreement of all methods, as rows."""
    rows = [
        {"method": method, "group": "all", "measure": measure, "k": NEIGHBORS, "classes": 1000, "mean": 0.6 + i / 99}
        | {"random": 0.43, "best": 0.74, "spearman": 0.3}
        | dict.fromkeys(("difference", "low", "high"))
        | ({} if method == "hidden" else {"difference": i / 99, "low": i / 99 - 0.01, "high": i / 99 + 0.01})
        for measure in ("wup", "path", "lin")
        for i, method in enumerate(METHODS)
    ]
    save("judgement", {key: [row[key] for row in rows] for key in rows[0]})
    sides = [*METHODS, "reference"]
    rows = [
        {"method_a": a, "group_a": "all", "method_b": b, "group_b": "wup" if b == "reference" else "all"}
        | {"classes": 1000, "spearman": 0.5, "overlap": 0.6, "low": 0.58, "high": 0.63}
        for i, a in enumerate(sides)
        for b in sides[i + 1 :]
    ]
    save("agreement", {key: [row[key] for row in rows] for key in rows[0]})


def texts(names: Sequence[str], numbers: NDArray[np.int64]) -> NDArray[np.object_]:
    """Names by their numbers."""
    return np.array(names, dtype=object)[numbers]


if __name__ == "__main__":
    main()
