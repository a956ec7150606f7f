import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from labelsim.analysis.explain import Channel, Explanation, Label, NearClass, PredictionSet
from labelsim.report.explanation import draw_explanation
from labelsim.report.figures import neighbors_figure, save, save_stacked

LONG = "great white shark, white shark, man-eater, man-eating shark [Carcharodon carcharias]"
LABELS = [Label(3, 0, "n01484850", LONG, 0.75), Label(1, None, "mystery", "mystery", 0.2)]
NEAREST = [NearClass("hidden", 1, 0, "n01484850", LONG, 0.5), NearClass("welch", 1, 4, "owl", "owl", -0.25)]
CHANNELS = [
    Channel(1, "layer[1].conv", 7, -0.125, 0.5, -2.5, 3.5),
    Channel(2, "layer[1].conv", 8, -0.25, None, 1.0, -5.0),
]
NEIGHBOR = {"method": "welch", "rank": 1, "neighbor_id": "owl", "neighbor_name": "owl [bird]", "similarity": 0.465}
STABLE = NEIGHBOR | {"method": "hidden", "stderr": 0.031, "folds": 8, "folds_in_top_k": 7}
WEIGHTS = NEIGHBOR | {"method": "weights", "stderr": None, "folds": 0, "folds_in_top_k": 0}


def drawn(width=2000, **parts) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(draw_explanation(Explanation("photo [1].jpg", labels=LABELS, **parts)))
    return captured.get()


def test_everything_is_drawn():
    text = drawn(
        prediction_set=PredictionSet(0.9, 1234, 0.5, LABELS),
        similar=[STABLE, WEIGHTS],
        nearest=NEAREST,
        channels=CHANNELS,
        notes=["something [is] missing"],
    )
    lines = text.splitlines()
    assert lines[0] == f"photo [1].jpg: {LONG} (n01484850), 75.0 %"
    assert lines[1].startswith(f"90 % prediction set: {LONG}, mystery ")
    assert "1,234" in lines[1]
    for part in ("20.0 %  mystery", f"+0.500  {LONG}", "-0.250  owl", "+0.465 ± 0.031  7/8", "layer[1].conv", "50.0 %"):
        assert part in text
    assert sum("+0.465 " in line and "±" in line for line in lines) == 1  # weights depend on no image
    assert "note: something [is] missing" in lines


def test_a_label_alone():
    lines = drawn(notes=["nothing else is known"]).splitlines()
    assert lines[0].startswith("photo [1].jpg: ")
    assert "prediction set" not in lines[1]
    assert "note: nothing else is known" in lines


def test_names_of_outputs_have_no_id():
    explanation = Explanation("a.jpg", labels=[Label(3, None, None, "output 3", 1.0)])
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(draw_explanation(explanation))
    assert captured.get().splitlines()[0] == "a.jpg: output 3, 100.0 %"


@pytest.mark.parametrize(
    ("threshold", "labels", "word"), [(None, LABELS, "all labels"), (0.1, [], "empty"), (0.9, LABELS * 20, "30 more")]
)
def test_prediction_sets_of_any_size(threshold, labels, word):
    line = drawn(prediction_set=PredictionSet(0.9, 7, threshold, labels)).splitlines()[1]
    assert word in line
    assert "7 images" in line


def test_a_narrow_terminal_cuts_nothing_off():
    stable = [STABLE | {"method": "hidden_centered", "rank": rank, "neighbor_name": LONG} for rank in range(1, 6)]
    text = drawn(80, similar=stable, nearest=NEAREST, channels=CHANNELS)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_figures_are_stacked(tmp_path):
    sizes = []
    for number, name in enumerate(["a", LONG]):
        picture = Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8))
        save(neighbors_figure(name, picture, []), tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as one:
            sizes.append(one.size)
    figures = [neighbors_figure(name, Image.new("RGB", (8, 8)), []) for name in ("a", LONG)]
    save_stacked(figures, tmp_path / "new/both.png")
    save_stacked(figures, tmp_path / "again.png")
    assert (tmp_path / "new/both.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    with Image.open(tmp_path / "new/both.png") as both:
        assert both.format == "PNG"
        assert both.width == max(width for width, _ in sizes)
        assert sum(height for _, height in sizes) < both.height < sum(height for _, height in sizes) + 100
