import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from labelsim.report.figures import ROW_LABELS, Neighbor, Row, heatmap_figure, neighbors_figure, save

NAMES = [
    "tights for gymnastics, a one-piece leotard",
    "n02012849",
    "maillot_tank_suit_swimwear_one_piece_bath",
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch",
    "from $5 to $10",
    "Großer Schweizer Sennenhund",
    "8",
]
# scripts that matplotlib's own font lacks, an emoji, an undecodable byte of a file name, a line break
STRANGE_NAMES = ["ドラゴン", "กระต่าย", "🐕 dog", "caf\udce9", "two\nlines", "$\\frac{", "_", " "]


def random_image(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def row(count: int, label: str = ROW_LABELS["welch"]) -> Row:
    neighbors = [Neighbor(NAMES[i % len(NAMES)], 0.9 - i / 100, random_image(8, 8)) for i in range(count)]
    return Row(label, neighbors)


def texts(figure: Figure) -> Iterator[Text]:
    return (text for text in figure.findobj(Text) if text.get_text() and text.get_visible())


def words(figure: Figure) -> list[str]:
    return [" ".join(text.get_text().split()) for text in texts(figure)]


def boxes(figure: Figure) -> list[Bbox]:
    """Where the figure's texts are drawn."""
    FigureCanvasAgg(figure).draw()
    return [text.get_window_extent() for text in texts(figure)]


def overlap(a: Bbox, b: Bbox) -> bool:
    return Bbox.intersection(a, b) is not None and min(*Bbox.intersection(a, b).size) > 0.5  # of a pixel


def assert_all_can_be_read(figure: Figure) -> None:
    drawn = boxes(figure)
    assert drawn
    for box in drawn:
        assert figure.bbox.x0 <= box.x0
        assert figure.bbox.y0 <= box.y0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    assert not [pair for pair in combinations(drawn, 2) if overlap(*pair)]


def blocks(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of blocks that are alike within, in a random order; each class's block."""
    block = np.random.default_rng(1).permutation(np.repeat(np.arange(count), size))
    similarity = np.where(block[:, None] == block, 0.8, -0.1)
    np.fill_diagonal(similarity, 1)
    return similarity.astype(np.float32), block


# --- neighbors ---


@pytest.mark.parametrize("k", [1, 20])
def test_neighbors_can_be_read(k: int):
    rows = [row(k, label) for label in ROW_LABELS.values()]
    figure = neighbors_figure(NAMES[0], random_image(64, 64, 3), rows)
    assert_all_can_be_read(figure)
    for i in range(k):
        assert words(figure).count(f"{0.9 - i / 100:.3f}") == len(rows)


def test_neighbors_of_rows_of_different_lengths():
    rows = [row(3), Row(ROW_LABELS["hidden"], [], "fewer than two usable images"), row(12, ROW_LABELS["gap"])]
    figure = neighbors_figure("8", None, rows)
    assert_all_can_be_read(figure)
    assert set(ROW_LABELS.values()) | {"fewer than two usable images", "no image"} <= set(words(figure))
    assert len(figure.axes[0].images) == 3 + 12


def test_neighbors_left_out_by_every_method():
    figure = neighbors_figure("8", None, [Row(label, [], "no usable image") for label in ROW_LABELS.values()])
    assert_all_can_be_read(figure)
    assert words(figure).count("no usable image") == 3


def test_neighbors_without_rows():
    assert words(neighbors_figure("8", None, [])) == ["no image", "8"]


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_are_drawn_as_they_are_written(name: str, tmp_path: Path):
    # a warning, such as of a missing glyph, is an error
    save(neighbors_figure(name, None, [Row(name, [Neighbor(name, 0.5)])]), tmp_path / "neighbors.png")
    save(heatmap_figure(np.eye(2), [name, name], name), tmp_path / "heatmap.png")


def test_a_dollar_sign_is_no_formula():
    name = "from $5 to $10"
    figures = [
        neighbors_figure(name, None, [Row(name, [Neighbor(name, 0.5)])]),
        heatmap_figure(np.eye(2), [name] * 2, name),
    ]
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        with_dollar = [text for text in texts(figure) if "$" in text.get_text()]
        assert len(with_dollar) >= 3
        assert not any(text.get_parse_math() for text in with_dollar)


def test_a_tiny_image_keeps_its_pixels():
    image = random_image(8, 8)
    figure = neighbors_figure("8", image, [])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    x0, y0, x1, y1 = figure.axes[0].images[0].get_window_extent().extents
    pixels = np.asarray(canvas.buffer_rgba())[::-1]  # a canvas's first row is at the top, an extent's at the bottom
    centers = (np.arange(8) + 0.5) / 8
    rows, columns = (y0 + (y1 - y0) * centers[::-1]).astype(int), (x0 + (x1 - x0) * centers).astype(int)
    np.testing.assert_array_equal(pixels[np.ix_(rows, columns)][..., 0], np.asarray(image))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA"])
def test_a_photo_is_cropped_to_its_center(mode: str):
    photo = Image.new("RGB", (900, 500), "white")
    photo.paste("black", (200, 0, 700, 500))
    figure = neighbors_figure("cat", photo.convert(mode), [])
    drawn = figure.axes[0].images[0].get_array()
    assert drawn.shape[0] == drawn.shape[1] <= 500
    assert drawn.max() == 0


# --- heat map ---


def test_heatmap_puts_alike_classes_side_by_side():
    similarity, block = blocks(count=4, size=5)
    names = [f"class {i}" for i in range(20)]
    axes = heatmap_figure(similarity, names, "S").axes[1]
    order = [names.index(label.get_text()) for label in axes.get_xticklabels()]
    assert order == [names.index(label.get_text()) for label in axes.get_yticklabels()]
    assert np.count_nonzero(np.diff(block[order])) == 3
    np.testing.assert_array_equal(axes.images[0].get_array(), similarity[np.ix_(order, order)])


@pytest.mark.parametrize("count", [2, 10, 59])
def test_heatmap_can_be_read(count: int):
    similarity = np.random.default_rng(2).uniform(-1, 1, (count + 1, count + 1))
    similarity[0] = similarity[:, 0] = np.nan
    names = [NAMES[i % len(NAMES)] for i in range(count + 1)]
    figure = heatmap_figure(similarity, names, "S · Welch statistic")
    assert_all_can_be_read(figure)
    assert "cosine similarity" in words(figure)


def test_heatmap_of_many_classes_has_no_names():
    figure = heatmap_figure(blocks(count=91, size=11)[0], [f"class {i}" for i in range(1001)], "S")
    assert any("1,001 classes" in text for text in words(figure))
    assert not any("class " in text for text in words(figure))
    assert_all_can_be_read(figure)


def test_heatmap_leaves_out_classes_without_similarity():
    similarity, _ = blocks(count=2, size=3)
    similarity[[1, 4]] = np.nan
    similarity[:, [1, 4]] = np.nan
    figure = heatmap_figure(similarity, list("abcdef"), "S")
    assert "2 classes left out: no similarity" in words(figure)
    assert sorted(label.get_text() for label in figure.axes[1].get_xticklabels()) == list("acdf")
    assert np.isfinite(figure.axes[1].images[0].get_array()).all()


def test_heatmap_does_not_change_the_matrix():
    similarity, _ = blocks(count=2, size=3)
    before = similarity.copy()
    heatmap_figure(similarity, list("abcdef"), "S")
    np.testing.assert_array_equal(similarity, before)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_heatmap_of_fewer_than_two_classes_is_a_sentence(count: int):
    similarity = np.full((count, count), np.nan)
    similarity[:1, :1] = 1
    figure = heatmap_figure(similarity, list("abc")[:count], "S")
    assert any("Fewer than two classes" in text for text in words(figure))
    assert_all_can_be_read(figure)


def test_heatmap_with_a_missing_pair():
    similarity, _ = blocks(count=2, size=3)
    similarity[0, 1] = similarity[1, 0] = np.nan
    figure = heatmap_figure(similarity, list("abcdef"), "S")
    assert np.count_nonzero(np.ma.getmaskarray(figure.axes[1].images[0].get_array())) == 2


def test_heatmap_colors_are_centered_at_zero_where_both_signs_occur():
    similarity, _ = blocks(count=4, size=5)
    # most pairs are of different blocks, and the 99th percentile is that of the same block
    assert heatmap_figure(similarity, ["a"] * 20, "S").axes[1].images[0].get_clim() == pytest.approx((-0.8, 0.8))


def test_heatmap_colors_of_one_sign_span_the_percentiles_off_the_diagonal():
    similarity = np.random.default_rng(3).uniform(0.7, 0.9, (50, 50))
    np.fill_diagonal(similarity, 1)
    off_diagonal = similarity[~np.eye(50, dtype=bool)]
    expected = np.percentile(off_diagonal, [1, 99])
    assert heatmap_figure(similarity, ["a"] * 50, "P").axes[1].images[0].get_clim() == pytest.approx(expected)


def test_heatmap_of_equal_similarities(tmp_path: Path):
    figure = heatmap_figure(np.ones((5, 5)), list("abcde"), "P")
    save(figure, tmp_path / "equal.png")
    low, high = figure.axes[1].images[0].get_clim()
    assert low < high == 1


# --- save ---


def test_save_gives_the_same_bytes_each_time(tmp_path: Path):
    paths = [tmp_path / "new" / name for name in ("a.png", "b.png")]
    for path in paths:
        save(neighbors_figure("8", random_image(8, 8), [row(2)]), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(paths[0].parent.iterdir()) == paths
    with Image.open(paths[0]) as image:
        assert image.format == "PNG"
        assert set(image.info) == {"dpi"}


def test_save_that_fails_keeps_the_former_file(tmp_path: Path):
    path = tmp_path / "figure.png"
    save(neighbors_figure("8", None, []), path)
    before = path.read_bytes()
    broken = neighbors_figure("8", None, [])
    broken.text(0.5, 0.5, "$\\frac{$")  # matplotlib cannot draw it
    with pytest.raises(ValueError, match="frac"):
        save(broken, path)
    assert path.read_bytes() == before


def test_figures_need_neither_pyplot_nor_torch():
    code = (
        "import sys, numpy as np; from labelsim.report.figures import heatmap_figure; "
        "heatmap_figure(np.eye(3), 'abc', 'S').canvas.draw(); "
        "print({'matplotlib.pyplot', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
