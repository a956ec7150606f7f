import json
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import toy
from stagewise import run_stages

import labelsim
from labelsim.config import load
from labelsim.dataset.classes import write_classes
from labelsim.errors import LabelsimError
from labelsim.run import Paths, committed, figure_names, open_run
from labelsim.stages.scan import scan
from labelsim.storage.json_files import write_document
from labelsim.storage.parquet import write_table
from labelsim.storage.zarr_store import Array, Writer

IDS = np.array(["n01440764", "n02799071", "straße"], dtype=object)
NAMES = np.array(["tench", "baseball", "Straße"], dtype=object)
LABELS = {"class_id": Array(("class",), (3,), "str", coordinate=True)}
CHANNELS = {
    "layer": Array(("channel",), (4,), "str", coordinate=True),
    "layer_channel": Array(("channel",), (4,), "int32", coordinate=True),
}
LABEL_VALUES = {"class_id": IDS, "class_name": NAMES, "neighbor_id": IDS, "neighbor_name": NAMES}
CHANNEL_VALUES = {
    "layer": np.array(["conv1", "conv1", "é", "é"], dtype=object),
    "layer_channel": np.array([0, 1, 0, 1]),
}


def text(*dims: str, size: int) -> Array:
    return Array(dims, (size,), "str", coordinate=True)


def write(path: str, arrays: dict, values: dict) -> None:
    writer = Writer(Path(path), arrays, "identity")
    for name, array in values.items():
        writer.put_whole(name, array)
    writer.commit({})


@pytest.fixture
def run(tmp_path):
    """The files of a small run, under their names in the contract."""
    paths = Paths(str(tmp_path / "results" / "test"))
    for name in ("manifest", "neighbors", "classes"):
        write_table(pa.table({"class_id": IDS, "table": [name] * 3}), Path(getattr(paths, name)), {"model": "é"})
    write_document(Path(paths.index), {"shards": [{"name": "b"}, {"name": "a"}]})
    write_classes(Path(paths.index).parent, IDS.tolist(), NAMES.tolist())
    write_document(Path(paths.network), {"head": "fc"})
    write_document(Path(paths.summary), {"classes": 3})
    for shard, rejected in (("a", ["1.png"]), ("b", [])):
        table = pa.table({"sample_id": pa.array(rejected, pa.string()), "reason": pa.array(rejected, pa.string())})
        write_table(table, Path(paths.rejects(shard)), {})
        arrays = CHANNELS | {
            "gap": Array(("sample", "channel"), (2, 4), "float32"),
            "sample_id": text("sample", size=2),
            "class_id": text("sample", size=2),
            "class_index": Array(("sample",), (2,), "int32", coordinate=True),
        }
        values = CHANNEL_VALUES | {
            "gap": np.ones((2, 4)),
            "sample_id": np.array([f"{shard}1", f"{shard}2"], dtype=object),
            "class_id": np.array([IDS[1], IDS[2]], dtype=object),
            "class_index": np.array([0, 1]),  # as it was before the first class was added
        }
        write(paths.features(shard), arrays, values)
    names = {name: text(name.split("_")[0], size=3) for name in LABEL_VALUES}
    classes = {name: names[name] for name in ("class_id", "class_name")}
    class_values = {name: LABEL_VALUES[name] for name in classes}
    moments = {"count": Array(("fold", "class"), (2, 3), "int64")}
    write(paths.moments, classes | moments, class_values | {"count": np.arange(6).reshape(2, 3)})
    t = CHANNELS | {"t": Array(("class", "channel"), (3, 4), "float64")}
    write(paths.welch, classes | t, class_values | CHANNEL_VALUES | {"t": np.arange(12.0).reshape(3, 4)})
    matrices = {
        "welch": Array(("group", "class", "neighbor"), (2, 3, 3), "float32"),
        "hidden": Array(("class", "neighbor"), (3, 3), "float32"),
        "group_name": text("group", size=2),
    }
    groups = {
        "hidden": np.arange(3, 12).reshape(3, 3),
        "welch": np.arange(18).reshape(2, 3, 3),
        "group_name": np.array(["all", "layer1"], dtype=object),
    }
    write(paths.similarity, names | matrices, LABEL_VALUES | groups)
    return open_run(tmp_path / "results" / "test")


def test_the_paths_are_those_of_the_contract():
    paths = Paths("results/test")
    found = [
        *(paths.manifest, paths.network, paths.index, paths.moments, paths.welch, paths.similarity),
        *(paths.neighbors, paths.classes, paths.summary, paths.shard("s"), paths.features("s"), paths.rejects("s")),
        *(paths.stats("s"), paths.shard_moments("s"), paths.class_figure("3"), paths.heatmap("gap"), paths.log("scan")),
    ]
    assert found == [
        "results/test/" + name
        for name in (
            *("manifest.parquet", "network.json", "shards/index.json", "moments.zarr", "welch.zarr", "similarity.zarr"),
            *("neighbors.parquet", "classes.parquet", "summary.json", "shards/s.parquet", "features/s.zarr"),
            *("features/s.rejects.parquet", "features/s.stats.json", "moments/s.zarr", "report/neighbors/3.png"),
            *("report/heatmaps/gap.png", "logs/scan.log"),
        )
    ]
    assert committed(paths.welch) == "results/test/welch.zarr/zarr.json"


@pytest.mark.parametrize("name", ["manifest", "neighbors", "classes"])
def test_tables(run, name):
    table = getattr(run, name)()
    assert table["table"].to_pylist() == [name] * 3
    assert table["class_id"].to_pylist() == IDS.tolist()


def test_a_table_of_an_earlier_run_is_refused(run):
    path = Path(run.paths.analysis("channels"))
    write_table(pa.table({"class_index": [0]}), path, {"dataset_digest": "d", "weights_digest": "w"})
    with pytest.raises(LabelsimError, match=r"channels\.parquet .*outdated"):
        run.analysis("channels")
    write_table(run.neighbors().slice(1), Path(run.paths.analysis("stability")), {})
    assert run.stable_neighbors().equals(run.neighbors())
    write_table(run.neighbors(), Path(run.paths.neighbors), {"dataset_digest": "d", "weights_digest": "w"})
    assert run.analysis("channels")["class_index"].to_pylist() == [0]


def test_shards_and_rejects_come_in_the_order_of_the_manifest(run):
    assert run.shards() == ["b", "a"]
    assert run.rejects().to_pydict() == {"sample_id": ["1.png"], "reason": ["1.png"]}


def test_network_and_provenance(run):
    assert run.network() == {"head": "fc"}
    assert run.summary() == {"classes": 3}
    assert run.provenance() == {"model": "é"}


def test_arrays_are_labelled(run):
    features = run.features("a")
    assert features["gap"].dims == ("sample", "channel")
    assert set(features.coords) == {"layer", "layer_channel", "sample_id", "class_id", "class_name", "class_index"}
    assert features["class_name"].values.tolist() == ["baseball", "Straße"]
    assert features["class_index"].values.tolist() == [1, 2]
    assert features["sample_id"].values.tolist() == ["a1", "a2"]
    assert run.moments()["count"].dims == ("fold", "class")
    assert run.moments()["count"].values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert set(run.welch().coords) == {"class_id", "class_name", "layer", "layer_channel"}
    assert run.welch().set_index(**{"class": "class_name"})["t"].sel(**{"class": "baseball"}).values.tolist() == [
        4,
        5,
        6,
        7,
    ]


def test_a_similarity_matrix_is_selected_by_the_name_of_its_group(run):
    matrix = run.similarity()["welch"].sel(group="layer1")
    assert matrix.dims == ("class", "neighbor")
    assert matrix.values.tolist() == np.arange(9, 18).reshape(3, 3).tolist()
    assert matrix["neighbor_name"].values.tolist() == NAMES.tolist()


def test_features_of_a_class_come_from_all_shards_in_the_order_of_the_manifest(run):
    features = run.features(class_id="straße")
    assert features["sample_id"].values.tolist() == ["b2", "a2"]
    assert features["class_name"].values.tolist() == ["Straße"] * 2
    assert features["class_index"].values.tolist() == [2, 2]
    assert features["gap"].values.tolist() == [[1.0] * 4] * 2
    assert features["layer"].values.tolist() == ["conv1", "conv1", "é", "é"]
    assert run.features("a", class_id="straße")["sample_id"].values.tolist() == ["a2"]
    empty = run.features(class_id="n01440764")  # a class without images
    assert empty.sizes == {"sample": 0, "channel": 4}
    assert empty["class_index"].dtype == features["class_index"].dtype
    with pytest.raises(LabelsimError, match=r"class_id: .*'strasse'.*did you mean straße"):
        run.features(class_id="strasse")
    with pytest.raises(LabelsimError, match="shard"):
        run.features()
    with pytest.raises(LabelsimError, match=r"shard: .*'c'.*expected b, a"):
        run.features("c")


def test_one_matrix(run):
    assert run.matrix("welch").values.tolist() == np.arange(9).reshape(3, 3).tolist()
    assert run.matrix("welch", "layer1").values.tolist() == np.arange(9, 18).reshape(3, 3).tolist()
    assert run.matrix("S", "layer1").equals(run.matrix("welch", "layer1"))
    assert run.matrix("hidden").values.tolist() == np.arange(3.0, 12).reshape(3, 3).tolist()
    with pytest.raises(LabelsimError, match="group: hidden has no layer groups"):
        run.matrix("hidden", "layer1")
    with pytest.raises(LabelsimError, match=r"group: .*'layer2'.*layer1"):
        run.matrix("welch", "layer2")
    for name in ("gap", "class_id", "group"):
        with pytest.raises(LabelsimError, match=rf"method: .*'{name}'.*hidden, welch"):
            run.matrix(name)
    noted = {str(name): "note" in matrix.attrs for name, matrix in run.similarity().items()}
    assert noted == {"welch": False, "hidden": True}


@pytest.mark.parametrize("read", [*("similarity", "welch", "moments")])
def test_datasets_show_no_checksums(run, read):
    dataset = getattr(run, read)()
    assert not {"digest", "files", "identity", "dataset_digest"} & dataset.attrs.keys()
    assert "identity" not in run.features("a").attrs
    assert run.features(class_id="straße").attrs == {}  # those of a shard say nothing of a class


def test_a_run_says_what_it_is(tmp_path):
    folder = toy.write(tmp_path / "toy")
    config = load(toy.config())
    with chdir(folder):
        scan(config["dataset"], Path("results/toy/manifest.parquet"))
        assert "not finished: at the stage shard" in str(open_run("results/toy"))
        run = open_run(run_stages(config).root)
        write_document(Path(run.paths.preflight), {})
        text = repr(run)
        Path(run.paths.summary).write_text("no JSON")
        assert f"{run.paths.summary} is damaged" in repr(run)
        Path(run.paths.index).unlink()
        assert "not finished" in repr(run)
    lines = dict(line.split(maxsplit=1) for line in text.splitlines()[1:])
    assert "results/toy" in text.splitlines()[0]
    assert lines["model"] == "network.py:network: 3 layers, 24 channels"
    assert lines["dataset"].startswith("170 images of 13 classes, 3 shards; 3 ")
    assert lines["methods"] == "welch, hidden, gap"
    assert lines["groups"] == "all, early, late"
    assert lines["state"] == "finished"


@pytest.mark.parametrize("name", ["manifest", "neighbors", "classes"])
def test_a_missing_or_damaged_table_is_named(run, name):
    path = Path(getattr(run.paths, name))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LabelsimError, match=f"{path} is damaged"):
        getattr(run, name)()
    path.unlink()
    with pytest.raises(LabelsimError, match=str(path)):
        getattr(run, name)()


@pytest.mark.parametrize("name", ["index", "network", "summary"])
def test_a_missing_or_damaged_json_file_is_named(run, name):
    read = {"index": run.shards, "network": run.network, "summary": run.summary}[name]
    path = Path(getattr(run.paths, name))
    path.write_text(path.read_text()[:-9])
    with pytest.raises(LabelsimError, match=f"{path} is damaged"):
        read()
    path.unlink()
    with pytest.raises(LabelsimError, match=str(path)):
        read()


@pytest.mark.parametrize("name", ["moments", "welch", "similarity"])
def test_an_unfinished_store_is_named(run, name):
    Path(committed(getattr(run.paths, name))).unlink()
    with pytest.raises(LabelsimError, match=f"{getattr(run.paths, name)} is unfinished"):
        getattr(run, name)()


def test_what_is_not_the_folder_of_a_run_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "no", tmp_path / "file"):
        with pytest.raises(LabelsimError, match=str(path)):
            labelsim.open_run(path)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([], []),
        (["3", "tench"], ["3", "tench"]),
        (["Egyptian cat", "n02124075"], ["Egyptian-cat", "n02124075"]),
        (["maillot, tank suit", "a/b", "../x", " é "], ["maillot-tank-suit", "a-b", "x", "é"]),
        (["日本 犬", "Straße"], ["日本-犬", "Straße"]),
        (["a b", "a-b", "a/b"], ["a-b", "a-b-2", "a-b-3"]),
        (["a b 2", "a b", "a-b"], ["a-b-2", "a-b", "a-b-3"]),
        (["?!", "…", "class"], ["class", "class-2", "class-3"]),
    ],
)
def test_figures_are_named_after_their_classes(labels, names):
    assert figure_names(labels) == dict(zip(names, labels, strict=True))


@pytest.mark.parametrize("module", ["labelsim", "labelsim.run"])
def test_importing_the_package_imports_no_heavy_library(module):
    heavy = ("torch", "xarray", "pyarrow", "zarr", "numpy", "matplotlib")
    look = f"import json, sys, {module}; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    output = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == []
