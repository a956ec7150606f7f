"""One image explained by a run, against plain NumPy and SciPy on the features that the run stored."""

import json
import shutil
from contextlib import chdir
from math import ceil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import toy
from PIL import Image
from pyarrow import parquet
from scipy.special import softmax
from stagewise import run_stages
from typer.testing import CliRunner

from labelsim import cli
from labelsim.analysis.explain import explain
from labelsim.analysis.new_images import image_features, load_network
from labelsim.config import load
from labelsim.errors import LabelsimError
from labelsim.run import Run, open_run
from labelsim.stages.stability import stability
from labelsim.storage.parquet import read_metadata, read_table, write_table

# The network answers 5, 7 or 9: a class of the run, a class of ImageNet that the run does not have, and a class
# without images. Two classes of the run have no output, and one output stands for a class nobody has heard of.
OUTPUTS = ["plum", "airplane", "mystery", "boat", "n01440764", "owl", "n01443537", "n02802426", "snail", "empty"]
OUTPUTS += ["rose", "red fox", "犬"]
METHODS = ["welch", "hidden", "gap", "conformal"]
# Features are computed in another batch than the run's, and stored as float32.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def make(folder: Path) -> Path:
    toy.write(folder)
    rows = [f"{id_},{id_}" for id_ in OUTPUTS]
    (folder / "outputs.csv").write_text("\n".join(["class_id,name", *rows]) + "\n", encoding="utf-8")
    config = toy.config()
    config["model"]["classes"] = "outputs.csv"
    with chdir(folder):
        for name, methods in (("toy", METHODS), ("plain", ["hidden"])):
            config |= {"run": name, "similarity": {"methods": methods}}
            paths = run_stages(load(config))
            if name == "toy":
                stores = {store: Path(getattr(paths, store)) for store in ("moments", "conformal")}
                tables = (Path(paths.analysis(table)) for table in ("stability", "class_stability"))
                stability(Path(paths.neighbors), stores, *tables)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds the network, the images, and two runs: `toy`, and `plain`, of the hidden state alone."""
    return make(tmp_path_factory.mktemp("explain") / "a folder")


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def run(folder) -> Run:
    return open_run(folder / "results/toy")


@pytest.fixture(scope="module")
def stored(run) -> SimpleNamespace:
    """What the run stored of each image that could be used."""
    shards = [run.features(shard) for shard in run.shards()]
    values = {name: np.concatenate([shard[name].values for shard in shards]) for name in ("gap", "hidden", "logits")}
    used = ~np.isnan(values["hidden"]).any(axis=1)
    found = {name: block[used].astype(np.float64) for name, block in values.items()}
    for name in ("sample_id", "class_id", "class_index"):
        found[name] = np.concatenate([shard[name].values for shard in shards])[used]
    return SimpleNamespace(**found, probability=softmax(found["logits"], axis=1))


@pytest.fixture(scope="module")
def chosen(stored) -> list[int]:
    """Some images, of each answer of the network."""
    answers = stored.logits.argmax(axis=1)
    assert set(answers) == {5, 7, 9}
    return [int(row) for answer in (5, 7, 9) for row in np.flatnonzero(answers == answer)[:3]]


@pytest.fixture(scope="module")
def explained(folder, run, stored, chosen):
    return explain(run, [folder / "images" / stored.sample_id[row] for row in chosen], k=4)


def means(stored, values, classes):
    found = np.full((classes, values.shape[1]), np.nan)
    for c in np.unique(stored.class_index):
        found[c] = values[stored.class_index == c].mean(axis=0)
    return found


def cosine(a, b):
    return a @ b.T / np.outer(np.sqrt((a**2).sum(axis=1)), np.sqrt((b**2).sum(axis=1)))


def statistic(stored, classes):
    """SciPy's t of each class and channel; NaN for classes of fewer than two images."""
    t = np.full((classes, stored.gap.shape[1]), np.nan)
    for c in range(classes):
        own = stored.class_index == c
        if own.sum() > 1:
            with np.errstate(all="ignore"):
                t[c] = scipy.stats.ttest_ind(stored.gap[own], stored.gap[~own], equal_var=False).statistic
    constant = np.ptp(stored.gap, axis=0) == 0
    t[:, constant] = np.where(np.isnan(t).all(axis=1), np.nan, 0.0)[:, np.newaxis]  # SciPy gives NaN
    return t


def deviations(stored, gap):
    spread = stored.gap.std(axis=0, ddof=1)
    assert spread[toy.DEAD] == 0
    return np.divide(gap - stored.gap.mean(axis=0), spread, out=np.zeros_like(gap), where=spread > 0)


def ranked(values, k):
    return sorted(np.flatnonzero(~np.isnan(values)), key=lambda i: (-values[i], i))[:k]


def test_features_are_those_that_the_run_stored(folder, run, stored):
    paths = [folder / "images" / sample for sample in stored.sample_id]
    settings = run.provenance()
    found = image_features(load_network(run, settings), settings["precision"], paths)
    assert found.reasons == [""] * len(paths)
    for name in ("gap", "hidden", "logits"):
        assert getattr(found, name).dtype == np.float32
        np.testing.assert_allclose(getattr(found, name), getattr(stored, name), rtol=1e-5, atol=1e-6)


def test_labels_are_the_most_probable_ones(explained, stored, chosen, run):
    names = dict(zip(run.classes()["class_id"].to_pylist(), run.classes()["class_name"].to_pylist(), strict=True))
    for row, explanation in zip(chosen, explained, strict=True):
        order = np.argsort(-stored.probability[row])[:4]
        assert [label.output for label in explanation.labels] == order.tolist()
        np.testing.assert_allclose(
            [label.probability for label in explanation.labels], stored.probability[row][order], **CLOSE
        )
        assert [label.class_id for label in explanation.labels] == [OUTPUTS[output] for output in order]
        for label in explanation.labels:
            other = {"n02802426": "basketball", "mystery": "mystery"}
            assert label.class_name == {**other, **names}[label.class_id]
            assert (label.class_index is None) == (label.class_id in other)
            if label.class_index is not None:
                assert run.classes()["class_id"][label.class_index].as_py() == label.class_id


@pytest.mark.parametrize("name", ["toy", "plain"])  # with conformal.zarr, and without
def test_the_prediction_set_is_calibrated_with_all_images_of_the_run(folder, stored, name):
    output = np.array([OUTPUTS.index(id_) if id_ in OUTPUTS else -1 for id_ in stored.class_id])
    assert (output < 0).any()
    score = np.sort(1 - stored.probability[np.flatnonzero(output >= 0), output[output >= 0]])
    limit = score[ceil((len(score) + 1) * 9 / 10) - 1]
    paths = [folder / "images" / sample for sample in stored.sample_id]
    sizes = set()
    for row, explanation in enumerate(explain(open_run(folder / f"results/{name}"), paths)):
        found = explanation.prediction_set
        assert (found.level, found.images) == (0.9, len(score))
        assert found.threshold == pytest.approx(limit, rel=1e-12)
        distance = 1 - stored.probability[row] - limit
        if np.abs(distance).min() < 1e-6:
            continue  # the image that set the limit: rounding decides
        expected = np.flatnonzero(distance < 0)
        sizes.add(len(expected))
        assert sorted(label.output for label in found.labels) == expected.tolist()
        assert np.all(np.diff([label.probability for label in found.labels]) <= 0)
    assert len(sizes) > 2


def test_similar_labels_are_the_run_s(explained, chosen, stored, run):
    table = parquet.read_table(run.paths.analysis("stability")).to_pandas()
    counts = []
    for row, explanation in zip(chosen, explained, strict=True):
        label = OUTPUTS[stored.logits[row].argmax()]
        rows = table[(table["class_id"] == label) & (table["group"] == "all") & (table["rank"] <= 4)]
        assert [(one["method"], one["rank"]) for one in explanation.similar] == [
            (method, rank) for method in METHODS for rank in range(1, 5) if len(rows)
        ]
        for one in explanation.similar:
            (expected,) = rows[(rows["method"] == one["method"]) & (rows["rank"] == one["rank"])].to_dict("records")
            for column in ("neighbor_id", "similarity", "corrected", "stderr", "folds", "folds_in_top_k"):
                assert one[column] == expected[column]
        counts.append(len(explanation.similar))
        reason = {"owl": [], "n02802426": ["basketball"], "empty": ["empty", "no usable image"]}[label]
        assert len(explanation.notes) == bool(reason)
        assert all(word in explanation.notes[0] for word in reason)
    assert sorted(counts) == [0] * 6 + [16] * 3


def test_classes_nearest_by_the_hidden_state(explained, stored, chosen, run):
    classes = len(run.classes())
    expected = cosine(stored.hidden[chosen], means(stored, stored.hidden, classes))
    for values, explanation in zip(expected, explained, strict=True):
        near = [one for one in explanation.nearest if one.by == "hidden"]
        assert [one.class_index for one in near] == ranked(values, 4)
        np.testing.assert_allclose([one.similarity for one in near], values[ranked(values, 4)], **CLOSE)
        assert [one.rank for one in near] == [1, 2, 3, 4]
        ids = run.classes()["class_id"].to_pylist()
        assert [one.class_id for one in near] == [ids[one.class_index] for one in near]


def test_classes_nearest_by_the_channels(explained, stored, chosen, run):
    t, values = statistic(stored, len(run.classes())), deviations(stored, stored.gap[chosen])
    expected = cosine(values, t)
    assert np.isnan(expected).all(axis=0).sum() == 2  # of classes of one image and of none
    for row, explanation in zip(expected, explained, strict=True):
        near = [one for one in explanation.nearest if one.by == "welch"]
        assert [one.class_index for one in near] == ranked(row, 4)
        np.testing.assert_allclose([one.similarity for one in near], row[ranked(row, 4)], **CLOSE)


def test_channels_that_carry_the_first_of_them(folder, stored, chosen, run):
    t, values = statistic(stored, len(run.classes())), deviations(stored, stored.gap[chosen])
    number = np.concatenate([np.arange(count) for count in toy.LAYERS.values()])
    layer = np.repeat(list(toy.LAYERS), list(toy.LAYERS.values()))
    explained = explain(run, [folder / "images" / stored.sample_id[row] for row in chosen], k=1000)
    for own, explanation in zip(values, explained, strict=True):
        first = next(one for one in explanation.nearest if one.by == "welch")
        parts = own * t[first.class_index] / np.sqrt((own**2).sum() * (t[first.class_index] ** 2).sum())
        order = ranked(parts, len(parts))
        found = explanation.channels
        assert [(one.layer, one.layer_channel) for one in found] == [(layer[j], number[j]) for j in order]
        np.testing.assert_allclose([one.contribution for one in found], parts[order], **CLOSE)
        np.testing.assert_allclose([one.image_value for one in found], own[order], **CLOSE)
        np.testing.assert_allclose([one.class_value for one in found], t[first.class_index][order], rtol=1e-9)
        # All channels are listed, so they add up.
        assert sum(one.contribution for one in found) == pytest.approx(first.similarity, abs=1e-12)
        assert sum(one.share for one in found) == pytest.approx(1, abs=1e-12)


def test_an_image_unlike_the_run_s_counts_no_more_than_the_run_s_can(folder, run, stored, tmp_path):
    # Stripes: no image of the run has any, so channels that are nearly constant there fire.
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:, ::2] = 255
    Image.fromarray(pixels).save(tmp_path / "stripes.png")
    settings = run.provenance()
    features = image_features(load_network(run, settings), settings["precision"], [tmp_path / "stripes.png"])
    (explanation,) = explain(run, [tmp_path / "stripes.png"])
    n = len(stored.gap)
    raw, limit = deviations(stored, features.gap.astype(np.float64)), (n - 1) / np.sqrt(n)
    beyond = (np.abs(raw) > limit).sum()
    assert beyond > 0
    assert any(note.startswith(f"{beyond} of {raw.shape[1]} ") for note in explanation.notes)
    expected = cosine(np.clip(raw, -limit, limit), statistic(stored, len(run.classes())))[0]
    near = [one for one in explanation.nearest if one.by == "welch"]
    assert [one.class_index for one in near] == ranked(expected, 5)
    np.testing.assert_allclose([one.similarity for one in near], expected[ranked(expected, 5)], **CLOSE)


def test_a_run_of_the_hidden_state_alone(folder, stored):
    (explanation,) = explain(open_run(folder / "results/plain"), [folder / "images" / stored.sample_id[0]])
    assert {one.by for one in explanation.nearest} == {"hidden"}
    assert explanation.channels == []
    assert any("welch" in note for note in explanation.notes)


def test_a_store_left_from_other_methods_is_not_used(copy, stored):
    shutil.copytree(copy / "results/toy/welch.zarr", copy / "results/plain/welch.zarr")
    (explanation,) = explain(open_run(copy / "results/plain"), [copy / "images" / stored.sample_id[0]])
    assert {one.by for one in explanation.nearest} == {"hidden"}


def test_stability_left_from_other_neighbors_is_not_used(copy, stored, chosen):
    path = copy / "results/toy/analysis/stability.parquet"
    table = read_table(path)
    write_table(table.slice(1), path)
    (explanation,) = explain(open_run(copy / "results/toy"), [copy / "images" / stored.sample_id[chosen[0]]])
    assert explanation.similar
    assert "stderr" not in explanation.similar[0]


def test_a_network_whose_outputs_are_not_known(copy, stored, chosen):
    path = copy / "results/toy/neighbors.parquet"
    table = read_table(path)
    metadata = read_metadata(table)
    metadata["model"]["classes"] = "auto"  # network.json has no labels: the weights are nobody's
    write_table(table, path, metadata)
    (explanation,) = explain(open_run(copy / "results/toy"), [copy / "images" / stored.sample_id[chosen[0]]])
    assert [label.class_name for label in explanation.labels] == [f"output {one.output}" for one in explanation.labels]
    assert {label.class_id for label in explanation.labels} == {None}
    assert explanation.prediction_set is None
    assert explanation.similar == []
    assert explanation.nearest
    assert "model.classes" in explanation.notes[0]


def test_no_class_of_the_run_is_an_output(copy, stored, chosen):
    (copy / "outputs.csv").write_text(
        "class_id,name\n" + "".join(f"other {i},other {i}\n" for i in range(13)), encoding="utf-8"
    )
    config = load(toy.config() | {"run": "other"})
    config["model"]["classes"] = "outputs.csv"
    config["similarity"]["methods"] = ["hidden"]
    with chdir(copy):
        run_stages(config)
    (explanation,) = explain(open_run(copy / "results/other"), [copy / "images" / stored.sample_id[chosen[0]]])
    assert explanation.labels[0].class_name.startswith("other ")
    assert explanation.prediction_set is None
    assert any("prediction set" in note for note in explanation.notes)


# --- the network ---


def test_another_network_is_refused(copy, stored):
    toy.write_network(copy / "network.py", seed=2)
    run = open_run(copy / "results/toy")
    with pytest.raises(LabelsimError, match="weights_digest") as caught:
        explain(run, [copy / "images" / stored.sample_id[0]])
    assert run.paths.network in str(caught.value)


def test_a_network_of_the_same_weights_and_other_code_is_refused(copy, stored):
    code = (copy / "network.py").read_text(encoding="utf-8")
    assert "nn.AdaptiveAvgPool2d(1)" in code
    (copy / "network.py").write_text(
        code.replace("nn.AdaptiveAvgPool2d(1)", "nn.AdaptiveMaxPool2d(1)"), encoding="utf-8"
    )
    run = open_run(copy / "results/toy")
    with pytest.raises(LabelsimError, match=r"model\.name.*network\.py:network") as caught:
        explain(run, [copy / "images" / stored.sample_id[0]])
    assert run.paths.network in str(caught.value)


def test_other_classes_of_the_outputs_are_refused(copy, stored):
    lines = (copy / "outputs.csv").read_text(encoding="utf-8").splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    (copy / "outputs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(LabelsimError, match=r"model\.classes: outputs\.csv"):
        explain(open_run(copy / "results/toy"), [copy / "images" / stored.sample_id[0]])


def test_a_network_that_is_not_there(copy, stored):
    (copy / "network.py").rename(copy / "away.py")
    with pytest.raises(LabelsimError, match=r"network\.py") as caught:
        explain(open_run(copy / "results/toy"), [copy / "images" / stored.sample_id[0]])
    assert str(copy) in str(caught.value)


# --- the command ---


def command(*arguments: object):
    return CliRunner().invoke(cli.app, ["explain", *map(str, arguments)], catch_exceptions=False)


def test_unusable_images_do_not_keep_the_others_from_being_answered(folder, stored, tmp_path):
    images = folder / "images"
    sound = [images / stored.sample_id[0], images / stored.sample_id[-1]]
    missing = tmp_path / "missing [1].png"
    unusable = {images / name: reason for name, reason in toy.REJECTS.items()}
    unusable |= {missing: "No such file", tmp_path: "directory"}
    found = command(sound[0], *unusable, sound[1], "--run", folder / "results/toy")
    assert found.exit_code == 1
    lines = found.stderr.splitlines()
    assert len(lines) == len(unusable)
    for line, (path, reason) in zip(lines, unusable.items(), strict=True):
        assert line.startswith(f"{path}: ")
        assert reason.casefold() in line.casefold()
    titles = [line for line in found.stdout.splitlines() if line.startswith(str(folder))]
    assert [title.rpartition(": ")[0] for title in titles] == list(map(str, sound))


def test_an_answer_is_a_success(folder, stored):
    found = command(folder / "images" / stored.sample_id[0], "--run", folder / "results/toy", "-k", 3)
    assert found.exit_code == 0
    assert found.stderr == ""
    cells = [line.split("│")[1].strip() for line in found.stdout.splitlines() if line.startswith("│")]
    assert cells.count("3") == 2  # the labels and nearest classes, and the channels
    assert "4" not in cells


def test_json_has_the_same_for_programs(folder, run, stored, chosen):
    image, broken = folder / "images" / stored.sample_id[chosen[0]], folder / "images" / "plum/text.jpg"
    found = command(image, broken, "--run", folder / "results/toy", "--json", "-k", 2)
    assert found.exit_code == 1
    contents = json.loads(found.stdout)
    assert set(contents) == {"run", "k", "images"}
    explanation, other = contents["images"]
    expected, _ = explain(run, [image, broken], k=2)  # the same batch, as last bits depend on its size
    assert explanation["image"] == str(image)
    assert explanation["reason"] == ""
    for key in ("labels", "nearest", "channels"):
        assert explanation[key] == [vars(one) for one in getattr(expected, key)]
    assert explanation["similar"] == expected.similar
    assert [one["output"] for one in explanation["prediction_set"]["labels"]] == [
        label.output for label in expected.prediction_set.labels
    ]
    assert other["reason"] == "not an image that Pillow reads"
    assert other["labels"] == []


def test_what_the_network_prints_is_not_in_the_json(copy, stored):
    code = (copy / "network.py").read_text(encoding="utf-8")
    (copy / "network.py").write_text(
        code.replace("def network():", "def network():\n    print('hello')"), encoding="utf-8"
    )
    with chdir(copy):
        config = load(toy.config() | {"run": "loud"})
        config["similarity"]["methods"] = ["hidden"]
        run_stages(config)
    found = command(copy / "images" / stored.sample_id[0], "--run", copy / "results/loud", "--json")
    assert json.loads(found.stdout)["images"]
    assert "hello" in found.stderr


def test_paths_are_relative_to_where_the_command_is_typed(folder, stored, tmp_path):
    shutil.copy(folder / "images" / stored.sample_id[0], tmp_path / "new.png")
    with chdir(tmp_path):
        found = command("new.png", "--run", folder / "results/toy", "--figure", "figures/new.png")
    assert found.exit_code == 0
    with chdir(folder / "results"):
        assert command(tmp_path / "new.png", "--run", "toy").stdout.splitlines()[1:] == found.stdout.splitlines()[1:]
    assert (tmp_path / "figures/new.png").is_file()


def test_the_figure_has_typical_images_wherever_the_command_is_typed(copy, stored, tmp_path):
    image, run = copy / "images" / stored.sample_id[0], open_run(copy / "results/toy")
    figures = [tmp_path / name for name in ("by-hash.png", "typical.png", "relative.png")]
    assert command(image, "--run", copy / "results/toy", "--figure", figures[0]).exit_code == 0
    last = dict(zip(stored.class_id.tolist(), stored.sample_id.tolist(), strict=True))  # not the ones chosen by hash
    table = pa.table({"class_id": [*last], "sample_id": [*last.values()]})
    write_table(table, Path(run.paths.analysis("examples")), run.provenance())
    assert command(image, "--run", copy / "results/toy", "--figure", figures[1]).exit_code == 0
    with chdir(copy / "results"):
        assert command(image, "--run", "toy", "--figure", figures[2]).exit_code == 0
    first, second, third = (figure.read_bytes() for figure in figures)
    assert first != second == third


def test_the_figure_of_several_images(folder, stored, chosen, tmp_path):
    images = [folder / "images" / stored.sample_id[row] for row in (chosen[0], chosen[3])]
    found = command(
        *images, tmp_path / "none.png", "--run", folder / "results/toy", "--figure", tmp_path / "figure.png"
    )
    assert found.exit_code == 1
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.format == "PNG"
        width, height = figure.size
        pixels = np.asarray(figure)
    # Five thumbnails of 150 pixels and the image beside them; three rows twice, and four of similar labels.
    assert 1000 < width < 2000
    assert 10 * 150 < height < 10 * 300
    assert pixels[:, :, 0].std() > 20


def test_no_figure_where_nothing_can_be_drawn(folder, tmp_path):
    found = command(tmp_path / "none.png", "--run", folder / "results/toy", "--figure", tmp_path / "figure.png")
    assert found.exit_code == 1
    assert not (tmp_path / "figure.png").exists()
