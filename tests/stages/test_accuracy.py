"""A whole run of images that a trained network tells apart, prepared and labelled rightly and wrongly."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from stagewise import run_stages
from torch.nn import functional

from labelsim.config import load
from labelsim.jobs.provenance import version
from labelsim.network.builder import load_callable
from labelsim.network.model import versions
from labelsim.run import open_run

# By class; with red and blue exchanged, only lime stays as it is.
COLORS = {
    "azure": (30, 120, 220),
    "blue": (60, 40, 200),
    "lime": (120, 210, 120),
    "orange": (220, 120, 30),
    "red": (200, 40, 60),
}
CLASSES = list(COLORS)
IMAGES = 50  # of a class, as ImageNet's validation set has them
NETWORK = """
import numpy as np
import torch
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


def pixels(image):
    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1).float()


def normalised(image):
    return (pixels(image) / 255 - 0.5) / 0.25


def right():
    return normalised


def exchanged():
    return lambda image: normalised(image).flip(0)


def not_normalised():
    return pixels
"""


def write_images(folder, count, shift=0):
    """Write as many images of each class; with a shift, those of another class."""
    random = np.random.default_rng(count)
    for i, class_id in enumerate(CLASSES):
        (folder / class_id).mkdir(parents=True)
        for number in range(count):
            pixels = random.normal(COLORS[CLASSES[(i + shift) % len(CLASSES)]], 20, (8, 8, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / class_id / f"{number}.bmp")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with images, and a network that was trained to tell them apart."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder / "images", IMAGES)
    (folder / "network.py").write_text(NETWORK, encoding="utf-8")
    transform = load_callable("network.py:right", folder)()
    paths = [folder / "images" / class_id / f"{n}.bmp" for class_id in CLASSES for n in range(0, IMAGES, 5)]
    images = torch.stack([transform(Image.open(path)) for path in paths])
    labels = torch.tensor([CLASSES.index(path.parent.name) for path in paths])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        network = load_callable("network.py:network", folder)()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    torch.save(network.state_dict(), folder / "weights.pth")
    return folder


@pytest.fixture
def measured(trained, tmp_path, monkeypatch, caplog):
    """Run the stages in a folder of one's own: the summary, and what the last stage said."""
    monkeypatch.chdir(tmp_path)
    for name in ("network.py", "weights.pth"):
        (tmp_path / name).symlink_to(trained / name)

    def measured(transform="right", images=trained / "images", labels=CLASSES, published=100.0, classes="auto"):
        config = load(
            {
                "run": "test",
                "dataset": {"source": str(images)},
                "model": {
                    "name": "network.py:network",
                    "weights": "weights.pth",
                    "transform": f"network.py:{transform}",
                    "classes": classes,
                },
                "extract": {"batch_size": 64, "workers": 0},
                "neighbors": {"k": 1},
            }
        )
        with caplog.at_level("INFO", "labelsim.stages.neighbors"):
            run_stages(config, {"labels": labels, "published_top1": published})
        said = [record for record in caplog.records if record.name == "labelsim.stages.neighbors"]
        warnings = [record.getMessage() for record in said if record.levelname == "WARNING"]
        summary = open_run("results/test").summary()
        assert warnings == [summary["warning"]] * bool(summary["warning"])
        (line,) = [record.getMessage() for record in said if record.getMessage().startswith("top-1 ")]
        assert line.endswith(summary["accuracy"]["note"])
        return summary, line

    return measured


def test_the_right_transform_and_labels_meet_the_published_accuracy(measured, trained):
    summary, line = measured()
    assert line.startswith("top-1 100.0 %, top-5 100.0 % of 250 images (published: 100.0 %); compared: ")
    assert summary["warning"] is None
    accuracy = summary.pop("accuracy")
    assert accuracy.pop("note").startswith("compared: ")
    assert accuracy == {"top1": 1.0, "top5": 1.0, "images": 250, "classes": 5, "published_top1": 1.0}
    run = open_run("results/test")
    assert summary == {
        "labelsim": version(),
        "weights_digest": run.network()["weights_digest"],
        "dataset_digest": run.provenance()["dataset_digest"],
        "computed_by": [versions(torch.device("cpu"))],
        "model": "network.py:network",
        "weights": "weights.pth",
        "images": {"used": 250, "rejected": 0},
        "classes": 5,
        "classes_without_images": 0,
        "layers": 1,
        "channels": 8,
        "excluded_channels": {"all": 0},
        "conformal": None,
        "methods": ["welch", "hidden", "gap"],
        "groups": ["all"],
        "neighbors": 1,
        "underflow": {},
        "warning": None,
    }


def figures(line):
    return re.findall(r"[\d.]+ %|[\d,]+ images|[\d,]+ outputs", line)


def is_alarm(summary):
    top1, (first, *rest) = summary["accuracy"]["top1"], summary["warning"].split("\n")
    assert figures(first) == [f"{100 * top1:.1f} %", "250 images", "100.0 %"]
    return [line[:5] for line in rest if line.startswith("  ")] == ["  1. ", "  2. ", "  3. "]


@pytest.mark.parametrize("transform", ["exchanged", "not_normalised"])
def test_a_wrong_transform_is_noticed(measured, transform):
    summary, line = measured(transform)
    assert summary["accuracy"]["top1"] < 0.7
    assert summary["accuracy"]["note"].startswith("compared: ")
    assert is_alarm(summary)
    assert "; compared: " in line


def test_shuffled_labels_are_noticed(measured, tmp_path):
    write_images(tmp_path / "images", IMAGES, shift=1)
    summary, _ = measured(images=tmp_path / "images")
    assert summary["accuracy"]["top1"] == 0
    assert is_alarm(summary)


def test_outputs_in_another_order_are_noticed(measured, tmp_path):
    rows = "\n".join(f"{class_id},{class_id}" for class_id in reversed(CLASSES))
    (tmp_path / "outputs.csv").write_text(f"class_id,name\n{rows}\n", encoding="utf-8")
    summary, _ = measured(classes="outputs.csv")
    assert summary["accuracy"]["top1"] == 0.2  # that of the class in the middle
    assert is_alarm(summary)


def test_a_gap_of_less_than_a_point_is_none(measured):
    summary, line = measured(published=99.06)
    assert "(published: 99.1 %)" in line
    assert summary["accuracy"]["published_top1"] == 0.9906
    assert summary["warning"] is None


def test_an_accuracy_above_the_published_one_is_noticed(measured):
    summary, _ = measured(published=98.9)
    assert figures(summary["warning"].partition("\n")[0]) == ["100.0 %", "250 images", "98.9 %"]


def test_other_images_are_not_compared(measured, trained, tmp_path):
    for class_id in CLASSES[:3]:
        (tmp_path / "images" / class_id).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / class_id).symlink_to(trained / "images" / class_id)
    summary, _ = measured(images=tmp_path / "images", transform="exchanged")
    assert summary["accuracy"]["top1"] < 0.7
    assert summary["accuracy"]["note"].startswith("not compared: ")
    assert summary["warning"] is None


def test_an_unusable_image_is_still_one_of_the_set(measured, trained, tmp_path):
    write_images(tmp_path / "images", IMAGES)
    (tmp_path / "images" / "red" / "0.bmp").write_bytes(b"no image")
    summary, _ = measured(images=tmp_path / "images")
    assert summary["images"] == {"used": 249, "rejected": 1}
    assert summary["accuracy"]["images"] == 249
    assert summary["accuracy"]["note"].startswith("compared: ")


@pytest.mark.parametrize(("shift", "top1"), [(0, 1.0), (2, 0.0)])
def test_shuffled_labels_of_other_images_are_noticed(measured, tmp_path, shift, top1):
    write_images(tmp_path / "images", 200, shift)
    summary, line = measured(images=tmp_path / "images", published=None)
    assert line.startswith(f"top-1 {100 * top1:.1f} %, top-5 100.0 % of 1,000 images; not compared: ")
    guessed = ["0.0 %", "1,000 images", "5 outputs", "20.0 %"]
    assert figures((summary["warning"] or "").partition("\n")[0]) == (guessed if shift else [])


def test_outputs_of_which_nothing_is_known(measured):
    summary, line = measured(labels=None, published=None)
    assert line.startswith("top-1 not known: ")
    assert summary["accuracy"] == {
        "top1": None,
        "top5": None,
        "images": 0,
        "classes": 0,
        "published_top1": None,
        "note": line.removeprefix("top-1 "),
    }
    assert summary["warning"] is None
    classes = parquet.read_table(Path("results/test/classes.parquet"))
    assert classes["top1"].to_pylist() == classes["top5"].to_pylist() == [None] * 5
