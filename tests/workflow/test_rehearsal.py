"""`make rehearsal` in small: more classes than a block holds, in orders that are not the alphabet's, in every form."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import many_classes
import oracle
import pytest
import yaml
from many_classes import FORMS, GROUPS, NARROW, Photo
from stagewise import run_stages
from workflows import snakemake, started

from labelsim.config import load

CLASSES = 130
ALONE, EMPTY = 101, 7  # a class of one image, and one of which none can be used
SIDE = 16
KILLED = "webdataset"
NAMES = many_classes.class_labels(CLASSES)
NUMBERS = [str(number) for number in range(CLASSES)]
# The same images in other batches, whose sums are rounded otherwise, in float32.
OTHER_BATCHES = 1e-5


def usable(photos: list[Photo]) -> list[Photo]:
    return [photo for photo in photos if photo.label != EMPTY]


@pytest.fixture(scope="module")
def photos():
    per_class = [1 if label == ALONE else 4 + label % 5 for label in range(CLASSES)]
    # With this seed shards of the classes in their order would mix two digits, three, and two blocks of 64.
    made = many_classes.photos(per_class, SIDE, seed=8)
    return [photo if photo.label != EMPTY else photo._replace(data=photo.data[:200]) for photo in made]


@pytest.fixture(scope="module")
def folder(photos, tmp_path_factory):
    """A folder with the network in it."""
    folder = tmp_path_factory.mktemp("rehearsal")
    many_classes.plant_network(folder, NARROW, CLASSES, SIDE, usable(photos))
    return folder


def config(form: str, dataset: dict, names: list[str], folder: Path) -> dict:
    (folder / f"{form}.csv").write_text("class_id,name\n" + "".join(f"{name},{name}\n" for name in names))
    return {
        "run": form.replace(" ", "-").replace(",", ""),
        "dataset": dataset,
        "model": {
            "name": "network.py:network",
            "weights": "weights.pth",
            "transform": "network.py:transform",
            "classes": f"{form}.csv",
        },
        "extract": {"images_per_shard": 200, "workers": 0, "device": "cpu", "max_reject_fraction": 0.05},
        "store": {"rows_per_chunk": 32},
        "similarity": {"layer_groups": GROUPS[NARROW]},
    }


def expected(photos: list[Photo], names: list[str], order: list[str]) -> oracle.Expected:
    sample_ids = {f"{names[photo.label]}/{photo.name}": names[photo.label] for photo in photos}
    rejects = {id_ for id_, class_id in sample_ids.items() if class_id == names[EMPTY]}
    return oracle.Expected(sample_ids, order, names, GROUPS[NARROW], rejects)


def shards(results: Path) -> int:
    return len(json.loads((results / "shards/index.json").read_text(encoding="utf-8"))["shards"])


@pytest.fixture(scope="module")
def results(photos, folder):
    """The results of each form of the numbered classes, but the one that goes through Snakemake."""

    def run(form: str) -> Path:
        dataset = FORMS[form].write(Path(form), photos, NUMBERS)
        return folder / run_stages(load(config(form, dataset, NUMBERS, folder))).root

    here = Path.cwd()
    os.chdir(folder)
    try:
        return {form: run(form) for form in FORMS if form != KILLED}
    finally:
        os.chdir(here)


def order(form: str) -> list[str]:
    return sorted(NUMBERS) if FORMS[form].by_string else NUMBERS


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {KILLED}))
def test_every_form_gives_what_the_oracle_says(results, photos, form):
    assert shards(results[form]) >= 3
    oracle.check(results[form], expected(photos, NUMBERS, order(form)))
    oracle.check_same_neighbors(results["class folders"], results[form])


def test_labels_by_name(results, photos, folder, monkeypatch):
    monkeypatch.chdir(folder)
    dataset = many_classes.parquet_tables(Path("named"), photos, NAMES)
    found = folder / run_stages(load(config("named", dataset, NAMES, folder))).root
    assert shards(found) >= 3
    oracle.check(found, expected(photos, NAMES, NAMES))
    numbers = dict(zip(NAMES, NUMBERS, strict=True))
    oracle.check_same_neighbors(results["class folders"], found, numbers, OTHER_BATCHES)


def test_killed_inside_a_shard_and_run_again(results, photos, folder):
    dataset = FORMS[KILLED].write(folder / KILLED, photos, NUMBERS, per_tar=100)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(KILLED, dataset, NUMBERS, folder)))
    found = folder / "results" / KILLED

    def inside_a_shard() -> bool:
        journals = Counter({path: path.read_bytes().count(b"\n") for path in found.glob("features/*.journal")})
        return any(
            n > 1 and not path.with_suffix(".zarr").joinpath("zarr.json").exists() for path, n in journals.items()
        )

    with started(folder) as process:
        while not inside_a_shard():
            assert process.poll() is None, "the workflow ended before it was killed"
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert snakemake(folder, "--unlock").code == 0
    outcome = snakemake(folder, "tables")
    assert outcome.code == 0, outcome.output
    stats = [json.loads(path.read_text(encoding="utf-8")) for path in found.glob("features/*.stats.json")]
    assert len(stats) >= 3
    assert any(one["images_resumed"] > 0 for one in stats)
    oracle.check(found, expected(photos, NUMBERS, order(KILLED)))
    some = {f"{photo.label}/{photo.name}": photo.data for photo in usable(photos)[:50]}
    oracle.check_features(found, folder, some)
    oracle.check_same_neighbors(results["class folders"], found)
