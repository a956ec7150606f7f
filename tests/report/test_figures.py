import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from labelsim.methods import METHODS
from labelsim.report.figures import Neighbor, Row, heatmap_figure, neighbors_figure, save, text_figure

LABELS = [METHODS[method].label for method in ("welch", "hidden", "gap")]
NAMES = [
    "great white shark, white shark, man-eater, man-eating shark",
    "n02012849",
    "maillot_tank_suit_swimwear_one_piece_bathing_suit_for_women",
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch",
    "WWWWWWWWWWWWW MMMMMMMMMMMMM WWWWWWWWWWWWWWWWWW MMMMMMMMMMMMM",
    "from $5 to $10",
    "Großer Schweizer Sennenhund",
    "8",
]
# scripts that matplotlib's own font lacks, an emoji, line breaks, combining characters, an incomplete formula
STRANGE_NAMES = ["ドラゴン" * 15, "กระต่าย", "🐕 dog", "Gro\u0308\u00dfe", "two\nlines", "$\\frac{", "_", " ", ""]


def random_image(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def row(count: int, label: str = LABELS[0]) -> Row:
    neighbors = [Neighbor(NAMES[i % len(NAMES)], 0.9 - i / 100, random_image(8, 8)) for i in range(count)]
    return Row(label, neighbors)


def texts(figure: Figure) -> Iterator[Text]:
    """The texts that are drawn."""
    off = {text for axes in figure.findobj(Axes) if not axes.axison for text in axes.findobj(Text)}
    return (text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible() and text not in off)


def words(figure: Figure) -> list[str]:
    return [" ".join(text.get_text().split()) for text in texts(figure)]


def overlap(a: Bbox, b: Bbox) -> bool:
    return Bbox.intersection(a, b) is not None and min(*Bbox.intersection(a, b).size) > 0.5  # of a pixel


def assert_nothing_overlaps(figure: Figure) -> None:
    """Neither texts nor images cover a text, save "no image", which is drawn on an image's box."""
    FigureCanvasAgg(figure).draw()
    outside = [text.get_window_extent() for text in texts(figure) if text.get_text() != "no image"]
    images = [image.get_window_extent() for axes in figure.axes for image in axes.images]
    assert outside
    assert not [pair for pair in combinations(outside, 2) if overlap(*pair)]
    assert not [pair for pair in combinations(images, 2) if overlap(*pair)]
    assert not [text for text in outside for image in images if overlap(text, image)]


def assert_nothing_is_cut_off(figure: Figure, folder: Path) -> None:
    """The picture has an empty margin."""
    save(figure, folder / "figure.png")
    with Image.open(folder / "figure.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels[5:-5, 5:-5].min() < 128
    for edge in (pixels[:5], pixels[-5:], pixels[:, :5], pixels[:, -5:]):
        assert edge.min() == 255


def blocks(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities that are high within blocks, the classes in a random order; the block of each class."""
    block = np.random.default_rng(1).permutation(np.repeat(np.arange(count), size))
    similarity = np.where(block[:, None] == block, 0.8, -0.1)
    np.fill_diagonal(similarity, 1)
    return similarity.astype(np.float32), block


# --- neighbors ---


@pytest.mark.parametrize("k", [1, 9, 50])
def test_neighbors_can_be_read(k: int, tmp_path: Path):
    rows = [row(k, label) for label in LABELS]
    figure = neighbors_figure(NAMES[0], random_image(64, 64, 3), rows)
    assert_nothing_overlaps(figure)
    assert_nothing_is_cut_off(figure, tmp_path)
    assert len([image for axes in figure.axes for image in axes.images]) == 1 + 3 * k
    assert {"".join(text.split()) for text in (*LABELS, NAMES[0])} <= {text.replace(" ", "") for text in words(figure)}
    for i in range(k):
        assert len([text for text in words(figure) if text.endswith(f"{0.9 - i / 100:.3f}")]) == len(rows)


@pytest.mark.parametrize(
    ("similarities", "drawn"),
    [
        ([0.9, 0.8, 0.7], ["0.900", "0.800", "0.700"]),
        ([0.9994, 0.9991, 0.5], ["0.9994", "0.9991", "0.5000"]),
        ([0.999991, 0.999989, 0.9998], ["0.999991", "0.999989", "0.999800"]),
        ([0.99999991, 0.9999999, 0.9], ["1.000000", "1.000000", "0.900000"]),
        ([0.5, 0.5, 0.4], ["0.500", "0.500", "0.400"]),  # equal ones need no more
        ([-0.12345, -12.5], ["-0.123", "-12.500"]),
    ],
)
def test_similarities_have_as_many_decimals_as_tell_them_apart(similarities: list[float], drawn: list[str]):
    rows = [row(2), Row(LABELS[1], [Neighbor("qq", similarity) for similarity in similarities])]
    found = [text.split()[-1] for text in words(neighbors_figure("8", None, rows)) if text.startswith("qq")]
    assert found == drawn


def test_the_scale_of_similarities_near_1_tells_them_apart():
    similarity = np.random.default_rng(4).uniform(0.9991, 0.9999, (30, 30))
    figure = heatmap_figure(similarity, [f"class {i}" for i in range(30)], "P")
    low, high = figure.axes[0].images[0].get_clim()
    assert 0.0005 < high - low < 0.001
    (bar, _) = figure.axes[0].child_axes
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in bar.get_yticklabels()]
    assert bar.yaxis.get_offset_text().get_text() == ""
    assert len(set(ticks)) == len(ticks) > 2
    assert all(text.startswith("0.999") for text in ticks if low <= float(text) <= high)


def test_only_names_that_are_too_long_are_shortened():
    figure = neighbors_figure("8", None, [row(len(NAMES))])
    drawn = {"".join(text.get_text().split()[:-1]) for text in texts(figure)}
    whole = {"".join(name.split()) for name in NAMES if "WWW" not in name and "_" not in name}
    assert whole <= drawn
    assert sorted(text[:4] for text in drawn if text.endswith("…")) == ["WWWW", "mail"]


def test_neighbors_of_rows_of_different_lengths(tmp_path: Path):
    rows = [row(3), Row(LABELS[1], [], "fewer than two usable images"), row(12, LABELS[2])]
    figure = neighbors_figure("8", None, rows)
    assert_nothing_overlaps(figure)
    assert_nothing_is_cut_off(figure, tmp_path)
    assert {*LABELS, "fewer than two usable images", "no image"} <= set(words(figure))
    assert len([image for axes in figure.axes for image in axes.images]) == 3 + 12


def test_a_class_without_neighbors_says_why(tmp_path: Path):
    figure = neighbors_figure("8", None, [Row(label, [], "no usable image") for label in LABELS])
    assert_nothing_overlaps(figure)
    assert_nothing_is_cut_off(figure, tmp_path)
    assert words(figure).count("no usable image") == 3


def test_neighbors_without_rows(tmp_path: Path):
    figure = neighbors_figure("8", None, [])
    assert sorted(words(figure)) == ["8", "no image"]
    assert_nothing_is_cut_off(figure, tmp_path)


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_are_drawn(name: str, tmp_path: Path):
    # a warning, such as of a missing glyph, is an error
    save(neighbors_figure(name, None, [Row(name, [Neighbor(name, 0.5)]), Row(name, [], name)]), tmp_path / "a.png")
    save(heatmap_figure(np.eye(2), [name, name], name), tmp_path / "b.png")
    save(text_figure(name, name), tmp_path / "c.png")


def test_a_dollar_sign_is_no_formula():
    name = "from $5 to $10"
    figures = [
        neighbors_figure(name, None, [Row(name, [Neighbor(name, 0.5)], name)]),
        heatmap_figure(np.eye(2), [name] * 2, name),
    ]
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        with_dollar = [text for text in texts(figure) if "$" in text.get_text()]
        assert len(with_dollar) >= 3
        assert not any(text.get_parse_math() for text in with_dollar)


def test_a_tiny_image_keeps_its_pixels():
    image = random_image(8, 8)
    figure = neighbors_figure("8", None, [Row("S", [Neighbor("8", 1.0, image)])])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (drawn,) = [drawn for axes in figure.axes for drawn in axes.images]
    x0, y0, x1, y1 = drawn.get_window_extent().extents
    pixels = np.asarray(canvas.buffer_rgba())[::-1]  # a canvas's first row is at the top, an extent's at the bottom
    centers = (np.arange(8) + 0.5) / 8
    rows, columns = (y0 + (y1 - y0) * centers[::-1]).astype(int), (x0 + (x1 - x0) * centers).astype(int)
    np.testing.assert_array_equal(pixels[np.ix_(rows, columns)][..., 0], np.asarray(image))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA"])
def test_a_photo_is_cropped_to_its_center(mode: str):
    photo = Image.new("RGB", (900, 500), "white")
    photo.paste("black", (200, 0, 700, 500))
    figure = neighbors_figure("cat", photo.convert(mode), [])
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert drawn.shape[0] == drawn.shape[1] <= 500
    assert drawn[:, 4:-4].max() == 0  # resizing blends the pixels near the edges


# --- heat map ---


def test_heatmap_puts_similar_classes_side_by_side():
    similarity, block = blocks(count=4, size=5)
    names = [f"class {i}" for i in range(20)]
    axes = heatmap_figure(similarity, names, "S").axes[0]
    order = [names.index(label.get_text()) for label in axes.get_xticklabels()]
    assert order == [names.index(label.get_text()) for label in axes.get_yticklabels()]
    assert np.count_nonzero(np.diff(block[order])) == 3
    drawn, off = axes.images[0].get_array(), ~np.eye(20, dtype=bool)
    np.testing.assert_array_equal(drawn[off], similarity[np.ix_(order, order)][off])
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), ~off)  # the diagonal is missing


def test_heatmap_of_minus_distances_is_clustered_by_them():
    group = np.arange(20) % 4
    similarity = np.where(group[:, np.newaxis] == group, -3.0, -9.0)
    np.fill_diagonal(similarity, 0)
    names = [f"class {i}" for i in range(20)]
    axes = heatmap_figure(similarity, names, "pairwise", largest=0).axes[0]
    order = [names.index(label.get_text()) for label in axes.get_xticklabels()]
    assert np.count_nonzero(np.diff(group[order])) == 3


def test_heatmap_has_a_dendrogram_of_the_same_order():
    similarity, _ = blocks(count=4, size=5)
    (_, tree) = heatmap_figure(similarity, [f"class {i}" for i in range(20)], "S").axes[0].child_axes
    branches = [path.vertices for collection in tree.collections for path in collection.get_paths()]
    assert len(branches) == 19  # a binary tree of 20 leaves
    # blocks of five are joined within at 1 - 0.8, and with one another at 1 + 0.1, as far as average linkage goes
    assert sorted({round(float(branch[:, 1].max()), 5) for branch in branches}) == [0.2, 1.1]
    assert tree.get_xlim() == (0, 200)  # scipy draws leaf i at 10 i + 5: as wide as the matrix


@pytest.mark.parametrize("count", [2, 10, 59])
def test_heatmap_can_be_read(count: int, tmp_path: Path):
    similarity = np.random.default_rng(2).uniform(-1, 1, (count + 1, count + 1))
    similarity[0] = similarity[:, 0] = np.nan
    names = [NAMES[i % len(NAMES)] for i in range(count + 1)]
    figure = heatmap_figure(similarity, names, LABELS[0])
    assert_nothing_overlaps(figure)
    assert_nothing_is_cut_off(figure, tmp_path)
    assert "similarity" in words(figure)


def test_heatmap_of_many_classes_has_no_names(tmp_path: Path):
    figure = heatmap_figure(blocks(count=91, size=11)[0], [f"class {i}" for i in range(1001)], "S")
    assert any("1,001 classes" in text for text in words(figure))
    assert not any("class " in text for text in words(figure))
    assert_nothing_overlaps(figure)
    assert_nothing_is_cut_off(figure, tmp_path)


def test_heatmap_leaves_out_classes_without_similarity():
    similarity, _ = blocks(count=2, size=3)
    similarity[[1, 4]] = np.nan
    similarity[:, [1, 4]] = np.nan
    figure = heatmap_figure(similarity, list("abcdef"), "S")
    assert any("2 classes left out" in text for text in words(figure))
    assert sorted(label.get_text() for label in figure.axes[0].get_xticklabels()) == list("acdf")
    assert np.count_nonzero(np.ma.getmaskarray(figure.axes[0].images[0].get_array())) == 4  # the diagonal


def test_heatmap_does_not_change_the_matrix():
    similarity, _ = blocks(count=2, size=3)
    before = similarity.copy()
    heatmap_figure(similarity, list("abcdef"), "S")
    np.testing.assert_array_equal(similarity, before)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_heatmap_of_fewer_than_two_classes_is_a_sentence(count: int, tmp_path: Path):
    similarity = np.full((count, count), np.nan)
    similarity[:1, :1] = 1
    figure = heatmap_figure(similarity, list("abc")[:count], "S")
    assert any("two classes" in text for text in words(figure))
    assert_nothing_overlaps(figure)
    assert_nothing_is_cut_off(figure, tmp_path)


def test_heatmap_with_a_missing_pair():
    similarity, _ = blocks(count=2, size=3)
    similarity[0, 1] = similarity[1, 0] = np.nan
    figure = heatmap_figure(similarity, list("abcdef"), "S")
    assert np.count_nonzero(np.ma.getmaskarray(figure.axes[0].images[0].get_array())) == 6 + 2


def test_heatmap_colors_are_centered_at_zero_where_both_signs_occur():
    similarity, _ = blocks(count=4, size=5)
    # most pairs are of different blocks, and the 99th percentile is that of the same block
    assert heatmap_figure(similarity, ["a"] * 20, "S").axes[0].images[0].get_clim() == pytest.approx((-0.8, 0.8))


def test_heatmap_colors_of_one_sign_span_the_percentiles_off_the_diagonal():
    similarity = np.random.default_rng(3).uniform(0.7, 0.9, (50, 50))
    np.fill_diagonal(similarity, 1)
    off_diagonal = similarity[~np.eye(50, dtype=bool)]
    expected = np.percentile(off_diagonal, [1, 99])
    assert heatmap_figure(similarity, ["a"] * 50, "P").axes[0].images[0].get_clim() == pytest.approx(expected)


def test_heatmap_of_equal_similarities(tmp_path: Path):
    figure = heatmap_figure(np.ones((5, 5)), list("abcde"), "P")
    save(figure, tmp_path / "equal.png")
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high == 1
    assert np.ma.getmaskarray(figure.axes[0].images[0].get_array()).sum() == 5


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
