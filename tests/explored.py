"""A planted run with images, analyses and an explorer page: two blocks of classes, and names as nasty as can be."""

import json
from base64 import b64decode
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from gzip import decompress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import planted
from PIL import Image
from pyarrow import parquet

from labelsim.methods import METHODS
from labelsim.report.explorer.pieces import BLOCK
from labelsim.stages.agreement import agreement
from labelsim.stages.evidence import evidence
from labelsim.stages.examples import examples
from labelsim.stages.explorer import explorer
from labelsim.stages.judgement import judgement
from labelsim.stages.map import maps
from labelsim.stages.scan import scan
from labelsim.stages.significance import significance
from labelsim.stages.stability import stability
from labelsim.stages.wordnet import wordnet
from labelsim.storage.json_files import read_document, write_document

CLASSES = 130  # more than a block of the page
ATTACK = "<img src=x onerror=window.hacked=1>"
NASTY = {
    5: (ATTACK, ATTACK),
    6: ('"quoted", & co', '"quoted", & co'),
    7: ("Ünïcode 猫", "Ünïcode 猫"),
    8: ("W" * 80, "W" * 80),
    9: ("2", "two: a number's name, and rather long for the name of a class, as names of classes go"),
    10: ("10", "ten"),
    104: ("__proto__", "</script><b>bold</b>"),
}
TEAPOT, GOLDFISH = 3, 102  # of both blocks; WordNet knows the goldfish as Carassius auratus, too
KNOWN = {TEAPOT: ("n04398044", "teapot"), GOLDFISH: ("n01443537", "goldfish")}
WARNING = f"The top-1 accuracy is {ATTACK}\nfar below the published one."
METHODS = {name: METHODS[name] for name in ("welch", "hidden", "gap", "pairwise", "confusion", "weights")}
RUN = f"planted {ATTACK}"
TABLES = {
    "stability": ("class_stability",),
    "evidence": ("evidence_layers",),
    "channels": ("class_significance",),
    "examples": ("evidence_images",),
    "wordnet": ("wordnet_pairs",),
    "judgement": (),
    "agreement": (),
    "map": ("tree",),
}


@dataclass(frozen=True)
class Explored:
    """A run with all that its explorer page is made from."""

    run: planted.Planted
    config: dict
    manifest: Path
    colors: dict[str, tuple[int, int, int]]  # of each image

    @property
    def files(self) -> dict[str, Path]:
        """The tables, by name."""
        names = [name for first, rest in TABLES.items() for name in (first, *rest)]
        return {
            "neighbors": self.run.path("neighbors"),
            "classes": self.run.path("classes"),
            **{name: Path(self.run.paths.analysis(name)) for name in names},
        }

    def table(self, name: str) -> pd.DataFrame:
        return parquet.read_table(self.files[name]).to_pandas()

    def write(self, output: Path, others: Mapping[str, Path | None] | None = None, **options: Any) -> Path:
        """Write a page, with other tables or none, and other options of the configuration's `report.explorer`."""
        config = deepcopy(self.config)
        config["report"]["explorer"] |= options
        files = {name: path for name, path in (self.files | dict(others or {})).items() if path is not None}
        explorer(files, self.run.path("similarity"), self.run.path("summary"), self.manifest, config, output)
        return output


def class_list() -> list[tuple[str, str]]:
    """Ids and names of the classes: wnids in no order, and `NASTY`."""
    nouns = parquet.read_table(Path(planted.__file__).parents[1] / "workflow/labelsim/analysis/wordnet/nouns.parquet")
    rows = np.random.default_rng(5).permutation(len(nouns))[: 2 * CLASSES]
    ids = [f"n{offset:08}" for offset in nouns["offset"].take(rows).to_pylist()]
    names = [lemmas[0] for lemmas in nouns["lemmas"].take(rows).to_pylist()]
    unique = list(dict(zip(reversed(names), reversed(ids), strict=True)).items())[:CLASSES]
    found = [(id_, name) for name, id_ in unique]
    for index, entry in {**NASTY, **KNOWN}.items():
        found[index] = entry
    return found


def explore(folder: Path) -> Explored:
    """Plant a run, write its images, and run the analyses."""
    run = planted.plant(folder, methods=tuple(METHODS), classes=class_list())
    paths = run.paths
    config = deepcopy(run.config)
    config["run"] = RUN
    config["dataset"]["source"] = str(folder / "images")
    config["report"]["classes"] = ["teapot"]
    colors = write_images(folder / "images", run)
    manifest = folder / "manifest.parquet"
    scan(config["dataset"], manifest)
    summary = read_document(run.path("summary"))
    write_document(run.path("summary"), summary | {"warning": WARNING})
    found = Explored(run, config, manifest, colors)
    files, neighbors = found.files, run.path("neighbors")
    shards = [Path(paths.features("a" * 16)), Path(paths.features("b" * 16))]
    moments, welch = run.path("moments"), run.path("welch")
    stability(neighbors, {"moments": moments}, files["stability"], files["class_stability"])
    stores = {"moments": moments, "welch": welch}
    evidence(neighbors, stores, 4, files["evidence"], files["evidence_layers"])
    tables = (files["channels"], files["class_significance"])
    significance(welch, moments, run.path("network"), config, "version", *tables)
    images = {"images": 4, "images_per_channel": 2}
    examples(
        shards,
        moments,
        neighbors,
        files["evidence"],
        images,
        *(files[name] for name in ("examples", "evidence_images")),
    )
    wordnet(files["classes"], neighbors, files["wordnet"], files["wordnet_pairs"])
    maps(run.path("similarity"), neighbors, files["map"], files["tree"])
    for stage in (judgement, agreement):
        stage(run.path("similarity"), neighbors, None, files[stage.__name__])
    return found


def write_images(folder: Path, run: planted.Planted) -> dict[str, tuple[int, int, int]]:
    """Write an image of one color for each sample; return the colors."""
    random = np.random.default_rng(0)
    colors = {}
    for class_id in run.ids:
        (folder / class_id).mkdir(parents=True)
    for sample in run.samples:
        color = colors[sample] = tuple(int(value) for value in random.integers(0, 256, 3))
        Image.new("RGB", (40, 30), color).save(folder / sample, "PNG")
    return colors


def pieces(page: Path) -> dict[str, bytes]:
    """The pieces of data of a page or of a folder, unpacked by another way than the page's."""
    folder = page.with_suffix("") / "data"
    if folder.is_dir():
        texts = {}
        for file in folder.iterdir():
            name, content = json.loads(
                file.read_text(encoding="utf-8").replace("labelsimPiece(", "[").replace(");", "]")
            )
            texts[name] = content
    else:
        parts = page.read_text(encoding="utf-8").split('<script type="text/plain" data-piece="')[1:]
        texts = {part.split('"')[0]: part.split(">")[1].split("<")[0] for part in parts}
    contents = {name: b64decode(text) for name, text in texts.items()}
    return {name: data if data.startswith(b"RIFF") else decompress(data) for name, data in contents.items()}


def rows(contents: Mapping[str, bytes], name: str) -> pd.DataFrame:
    """The blocks of a piece, put together."""
    blocks = -(-CLASSES // BLOCK)
    return pd.concat([pd.DataFrame(json.loads(contents[f"{name}/{block}"])) for block in range(blocks)])
