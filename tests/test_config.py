import copy
import re

import pytest
import yaml

from labelsim.config import SCHEMA, check_files, load, read
from labelsim.errors import LabelsimError

GIVEN = {"run": "my-run", "dataset": {"source": "images"}}

# DESIGN 5, what a config file that says no more than it must takes.
DEFAULTS = {
    "run": "my-run",
    "dataset": {
        "source": "images",
        "format": "auto",
        "labels": "auto",
        "columns": {"image": "image", "label": "label"},
        "class_names": "auto",
        "images_per_class": None,
        "content_digest": False,
    },
    "model": {"name": "resnet34", "weights": "IMAGENET1K_V1", "classes": "auto", "transform": "auto"},
    "probe": {"layers": ["*"], "at": "convolution", "head": "auto"},
    "extract": {
        "images_per_shard": "auto",
        "batch_size": "auto",
        "device": "auto",
        "precision": "float32",
        "compile": False,
        "workers": "auto",
        "max_reject_fraction": 0.01,
    },
    "store": {"dtype": "float32", "rows_per_chunk": "auto"},
    "similarity": {"methods": ["welch", "hidden", "gap"], "layer_groups": {}},
    "neighbors": {"k": 9},
    "analysis": {
        "stability": {"enabled": True},
        "evidence": {"enabled": True, "channels": 10},
        "significance": {"enabled": True, "channels": 20, "alternative": "two-sided"},
        "reference": {"file": None},
        "judgement": {"enabled": True},
        "agreement": {"enabled": True},
        "examples": {"enabled": True, "images": 8, "images_per_channel": 3},
        "wordnet": {"enabled": True},
        "map": {"enabled": True},
    },
    "report": {"classes": [], "explorer": {"enabled": True, "thumbnails": 4, "budget_mb": 25}},
}


def given(key: str = "", value: object = None) -> dict:
    """The smallest configuration, with one value set by its dotted key."""
    config = copy.deepcopy(GIVEN)
    if key:
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return config


def problems(config: dict) -> list[str]:
    with pytest.raises(LabelsimError) as caught:
        load(config)
    title, *lines = str(caught.value).split("\n")
    assert title == "The configuration is not valid:"
    assert not [
        jargon for jargon in ("is not of type", "is not one of", "schema", "'type'") if jargon in str(caught.value)
    ]
    assert all(line.startswith("  ") for line in lines)
    return [line.strip() for line in lines]


def test_what_is_left_out_takes_its_default():
    assert load(GIVEN) == DEFAULTS


def test_what_is_given_stays():
    config = given("extract.batch_size", 8)
    config["similarity"] = {"layer_groups": {"early": ["conv1", "layer1.*"]}}
    expected = copy.deepcopy(DEFAULTS)
    expected["extract"]["batch_size"] = 8
    expected["similarity"]["layer_groups"] = {"early": ["conv1", "layer1.*"]}
    assert load(config) == expected


def test_a_loaded_configuration_stays_as_it_is():
    assert load(load(GIVEN)) == load(GIVEN)


def test_the_demo_leaves_nothing_behind():
    demo = read(SCHEMA.parents[3] / "config" / "config.yaml")
    assert demo["similarity"]["layer_groups"]
    demo["similarity"]["layer_groups"]["more"] = demo["report"]["classes"]
    demo["probe"]["layers"].append("layer1")
    assert load(GIVEN) == DEFAULTS


def test_the_values_given_are_not_shared_with_the_result():
    config = given("report.classes", ["tench"])
    load(config)["report"]["classes"].append("baseball")
    assert config == given("report.classes", ["tench"])


VALID = {
    "run": ["a", "0", "imagenet1k-val_2.1"],
    "dataset.images_per_class": [1, None],
    "dataset.content_digest": [True],
    "dataset.format": ["folder"],
    "dataset.columns": [{"image": "img", "label": "fine_label"}],
    "dataset.columns.label": ["fine_label"],
    "model.weights": [None, "weights/a b.pth"],
    "probe.layers": [["layer1.*", "conv1"]],
    "probe.at": ["batch_norm", "activation", "auto"],
    "extract.images_per_shard": [2, "auto"],
    "extract.batch_size": [1, "auto"],
    "extract.device": ["cpu", "cuda", "cuda:0", "cuda:13"],
    "extract.precision": ["tf32", "bfloat16", "float16"],
    "extract.compile": [True],
    "extract.workers": [0, 4],
    "extract.max_reject_fraction": [0, 1, 0.5],
    "analysis.significance.alternative": ["less", "greater"],
    "store.dtype": ["float16"],
    "store.rows_per_chunk": [1],
    "similarity.methods": [["gap"], ["hidden", "welch"]],
    "similarity.layer_groups": [{"layer1": ["layer1.*"], "2": ["a", "b"]}],
    "neighbors.k": [1, 999],
    "analysis.reference.file": [None, "human.csv"],
    "analysis.judgement.enabled": [False],
    "report.classes": [["3", "Straße"]],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in VALID.items() for value in values])
def test_valid_values(key, value):
    config = load(given(key, value))
    for part in key.split("."):
        config = config[part]
    assert config == value


INVALID = [
    ("run", "my run", "'my run'", "a name of letters, digits"),
    ("run", "../up", "'../up'", "a name of letters, digits"),
    ("run", ".hidden", "'.hidden'", "a name of letters, digits"),
    ("run", 5, "5", "a name of letters, digits"),
    ("dataset", "images", "'images'", "keys and values"),
    ("dataset.source", "", "''", "text (characters: at least 1)"),
    ("dataset.source", ["a", "b"], "['a', 'b']", "text"),
    ("dataset.format", "lmdb", "'lmdb'", "one of auto, folder, flat, kaggle, ilsvrc-tar, webdataset, parquet"),
    ("dataset.columns", "img", "'img'", "keys and values"),
    ("dataset.columns.image", "", "''", "text (characters: at least 1)"),
    ("dataset.columns.label", 1, "1", "text"),
    ("dataset.class_names", None, "None", "text"),
    ("dataset.images_per_class", 0, "0", "a whole number or null (at least 1)"),
    ("dataset.images_per_class", "50", "'50'", "a whole number or null"),
    ("dataset.content_digest", "yes", "'yes'", "true or false"),
    ("dataset.content_digest", 1, "1", "true or false"),
    ("model", None, "None", "keys and values"),
    ("model.name", "", "''", "text (characters: at least 1)"),
    ("model.weights", 1, "1", "text or null"),
    ("probe.layers", "layer1.*", "'layer1.*'", "a list (entries: at least 1)"),
    ("probe.layers", [], "[]", "a list (entries: at least 1)"),
    ("probe.at", "conv", "'conv'", "one of convolution, batch_norm, activation, auto"),
    ("extract.images_per_shard", 1, "1", "auto or a whole number (at least 2)"),
    ("extract.images_per_shard", "1e4", "'1e4'", "auto or a whole number"),
    ("extract.batch_size", 0, "0", "auto or a whole number (at least 1)"),
    ("extract.batch_size", "large", "'large'", "auto or a whole number (at least 1)"),
    ("extract.batch_size", True, "True", "auto or a whole number"),
    ("extract.device", "gpu", "'gpu'", "one of auto, cpu, cuda, cuda:0, cuda:1"),
    ("extract.device", "cuda:", "'cuda:'", "one of auto, cpu, cuda, cuda:0, cuda:1"),
    ("extract.precision", "double", "'double'", "one of float32, tf32, bfloat16, float16"),
    ("extract.workers", -1, "-1", "auto or a whole number (at least 0)"),
    ("extract.max_reject_fraction", 1.5, "1.5", "a number (at least 0, at most 1)"),
    ("extract.max_reject_fraction", -0.1, "-0.1", "a number (at least 0, at most 1)"),
    ("extract.max_reject_fraction", float("nan"), "nan", "a number"),
    ("extract.max_reject_fraction", "1%", "'1%'", "a number"),
    ("store.dtype", "float64", "'float64'", "one of float32, float16"),
    ("store.rows_per_chunk", 2.5, "2.5", "auto or a whole number (at least 1)"),
    ("similarity.methods", [], "[]", "a list (entries: at least 1, none twice)"),
    ("similarity.methods", ["gap", "gap"], "['gap', 'gap']", "none twice"),
    ("similarity.layer_groups.early", "conv1", "'conv1'", "a list"),
    ("similarity.layer_groups.early", [], "[]", "a list (entries: at least 1)"),
    ("neighbors.k", 0, "0", "a whole number (at least 1)"),
    ("neighbors.k", 9.0, "9.0", "a whole number (at least 1)"),
    ("neighbors.k", None, "None", "a whole number (at least 1)"),
    ("report.classes", "tench", "'tench'", "a list"),
]


@pytest.mark.parametrize(("key", "value", "shown", "expected"), INVALID)
def test_a_wrong_value_is_named_with_what_was_expected(key, value, shown, expected):
    (problem,) = problems(given(key, value))
    assert problem.startswith(f"{key}: {shown} is not valid; expected ")
    assert expected in problem


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["S", "H", "P"], ["welch", "hidden", "gap"]),
        (["P"], ["gap"]),
        (["output", "S", "hidden"], ["output", "welch", "hidden"]),
    ],
)
def test_the_names_of_the_paper_stand_for_methods(names, expected):
    config = given("similarity.methods", names)
    assert load(config)["similarity"]["methods"] == expected
    assert config == given("similarity.methods", names)


@pytest.mark.parametrize("names", [["S", "welch"], ["gap", "hidden", "P"], ["H", "H"]])
def test_a_method_under_two_names_is_given_twice(names):
    (problem,) = problems(given("similarity.methods", names))
    assert problem.startswith(f"similarity.methods: {names} is not valid; expected ")
    assert "twice" in problem


@pytest.mark.parametrize(
    ("key", "value", "start"),
    [
        ("similarity.methods", ["gap", "welsh"], "similarity.methods.1: 'welsh' is not valid; expected one of welch,"),
        ("report.classes", ["3", 7], "report.classes.1: 7 is not valid; expected text"),
        ("probe.layers", [""], "probe.layers.0: '' is not valid; expected text"),
        ("similarity.layer_groups", {"a": ["x", 1]}, "similarity.layer_groups.a.1: 1 is not valid; expected text"),
        ("similarity.layer_groups", {"all": ["x"]}, "similarity.layer_groups: 'all' is not valid; expected "),
        ("similarity.layer_groups", {"a/b": ["x"]}, "similarity.layer_groups: 'a/b' is not valid; expected "),
    ],
)
def test_a_wrong_entry_is_named_with_its_place(key, value, start):
    (problem,) = problems(given(key, value))
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("modle", "model"),
        ("dataset.images_per_clas", "images_per_class"),
        ("model.weight", "weights"),
        ("probe.layer", "layers"),
        ("extract.batchsize", "batch_size"),
        ("store.type", "dtype"),
        ("similarity.method", "methods"),
        ("neighbors.n", "k"),
        ("report.class", "classes"),
        ("threads", "run, dataset, model, probe, extract, store, similarity, neighbors, analysis, report"),
    ],
)
def test_an_unknown_key_is_named_with_a_known_one(key, hint):
    (problem,) = problems(given(key, 1))
    assert re.fullmatch(rf"{key}: .*\b{hint}\b.*", problem)


def test_an_unknown_key_that_is_no_text_is_named():
    assert [problem.split(":")[0] for problem in problems({**GIVEN, 1: 2, "x": 3})] == ["1", "x"]


def test_what_is_missing_is_named():
    assert [problem.split(":")[0] for problem in problems({})] == ["run", "dataset"]
    assert [problem.split(":")[0] for problem in problems({"run": "a", "dataset": {}})] == ["dataset.source"]


def test_all_problems_are_listed():
    config = {
        "runn": "a",
        "dataset": {"sorce": "b", "format": "tar"},
        "neighbors": {"k": 0},
        "extract": {"workers": []},
    }
    assert [problem.split(":")[0] for problem in problems(config)] == [
        "runn",
        "run",
        "dataset.sorce",
        "dataset.source",
        "dataset.format",
        "extract.workers",
        "neighbors.k",
    ]


def leaves(schema: dict, path: str = "") -> list[tuple[str, dict, bool]]:
    """Every key that holds a value, with its schema and whether it must be given."""
    found = []
    for name, sub in schema["properties"].items():
        if "properties" in sub:
            found += leaves(sub, f"{path}{name}.")
        else:
            found.append((f"{path}{name}", sub, name in schema.get("required", ())))
    return found


LEAVES = leaves(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("key", "schema", "required"), LEAVES, ids=[key for key, _, _ in LEAVES])
def test_every_key_is_described_and_has_a_default_unless_it_must_be_given(key, schema, required):
    assert re.fullmatch(r"\S.+\.", schema["description"].strip())
    assert ("default" in schema) is not required
    if not required:
        assert load(given(key, schema["default"])) == DEFAULTS


def test_every_section_refuses_unknown_keys():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    sections, seen = [schema], []
    while sections:
        seen.append(sections.pop())
        sections += [sub for sub in seen[-1]["properties"].values() if "properties" in sub]
    assert len(seen) > 9
    assert all(section["additionalProperties"] is False for section in seen)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with everything that a configuration may name, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images" / "n01440764").mkdir(parents=True)
    for name in ("weights.pth", "names.csv", "outputs.parquet", "networks.py", "human.csv"):
        (tmp_path / name).touch()
    return tmp_path


FILES = {
    "dataset.class_names": "names.csv",
    "model.weights": "weights.pth",
    "model.classes": "outputs.parquet",
    "model.name": "networks.py:small",
    "model.transform": "networks.py:transform",
    "analysis.reference.file": "human.csv",
}


def missing(key: str, value: str, made: tuple[str, ...] = ()) -> list[str]:
    config = given(key, value)
    config.setdefault("model", {}).setdefault("transform", "package.module:transform")  # a callable needs one
    try:
        check_files(load(config), made)
    except LabelsimError as error:
        return str(error).split("\n  ")[1:]
    return []


@pytest.mark.parametrize(("key", "value"), FILES.items())
def test_files_that_are_there_are_fine(files, key, value):
    assert missing(key, value) == []
    absolute = str(files / value)
    assert missing(key, absolute) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.weights", None),
        ("model.weights", "DEFAULT"),
        ("model.weights", "ResNet34_Weights.IMAGENET1K_V1"),
        ("model.classes", "dataset"),
        ("model.name", "timm:resnet10t"),
        ("model.name", "package.module:small"),
    ],
)
def test_what_names_no_file_needs_none(files, key, value):
    assert missing(key, value) == []


@pytest.mark.parametrize(("key", "value"), FILES.items())
def test_a_missing_file_is_named_with_one_like_it(files, key, value):
    file = value.split(":")[0]
    (files / file).rename(files / f"my_{file}")
    (problem,) = missing(key, value)
    assert problem.startswith(f"{key}: {file!r} ")
    assert f" {files};" in problem
    assert f"my_{file}" in problem
    assert missing(key, value, made=(file,)) == []


def test_a_missing_weights_file_that_sounds_like_an_entry_is_named(files):
    (problem,) = missing("model.weights", "ResNet34_Weights.pth")
    assert problem.startswith("model.weights: 'ResNet34_Weights.pth' ")


def test_a_folder_in_place_of_a_file_is_named(files):
    (problem,) = missing("model.weights", "./images")
    assert problem.startswith("model.weights: 'images' ")


def test_a_file_in_a_missing_folder_is_named_with_what_is_there(files):
    (problem,) = missing("model.weights", "checkpoints/2024/a.pth")
    assert problem.startswith("model.weights: 'checkpoints/2024/a.pth' ")
    assert f"'checkpoints' in {files};" in problem
    assert "weights.pth" in problem


def test_a_missing_source_is_named_with_one_like_it(files):
    (problem,) = missing("dataset.source", str(files / "image" / "train"))
    assert problem.startswith(f"dataset.source: '{files}/image/train' ")
    assert "images" in problem
    assert missing("dataset.source", "results/digits", made=("results/digits",)) == []


def test_a_source_that_is_a_file_of_no_known_kind_is_named(files):
    (problem,) = missing("dataset.source", "names.csv")
    assert problem.startswith("dataset.source: 'names.csv' ")


def test_every_shard_of_a_pattern_must_be_there(files):
    for name in ("a-0.tar", "a-2.tar"):
        (files / name).touch()
    assert missing("dataset.source", f"{files}/a-{{0,2}}.tar") == []
    assert missing("dataset.source", f"{files}/a-*.tar") == []
    (problem,) = missing("dataset.source", f"{files}/a-{{0..3}}.tar")
    assert problem.startswith(f"dataset.source: '{files}/a-{{0..3}}.tar'")
    assert problem.endswith(f" {files}/a-1.tar and 1 more")


def test_all_missing_files_are_listed(files):
    model = {"weights": "y.pth", "name": "z.py:f", "transform": "a.b:f"}
    config = load({"run": "a", "dataset": {"source": "x"}, "model": model})
    with pytest.raises(LabelsimError) as caught:
        check_files(config)
    assert re.findall(r"\n  ([a-z.]+): ", str(caught.value)) == ["dataset.source", "model.weights", "model.name"]


def test_a_file_is_read(tmp_path):
    (tmp_path / "c.yaml").write_text("run: my-run\ndataset:\n  source: images\n")
    assert read(tmp_path / "c.yaml") == DEFAULTS


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (b"run: [1, 2\n", "YAML"),
        (b"run: a\xff\xfe", "YAML"),
        (b"\x00\x01", "YAML"),
        (b"- run\n- dataset\n", "keys and values"),
        (b"", "keys and values"),
        (b"just text", "keys and values"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, contents, expected):
    path = tmp_path / "c.yaml"
    path.write_bytes(contents)
    with pytest.raises(LabelsimError, match=f"^{re.escape(str(path))}.*{expected}"):
        read(path)


def test_a_config_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in ((tmp_path / "c.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(LabelsimError, match=f"{re.escape(str(path))}.*{reason}"):
            read(path)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ({}, "IMAGENET1K_V1"),
        ({"name": "resnet18"}, "IMAGENET1K_V1"),
        ({"name": "timm:resnet18.a1_in1k"}, "DEFAULT"),
        ({"name": "timm:resnet18", "weights": "a1_in1k"}, "a1_in1k"),
        ({"name": "timm:resnet18", "weights": None}, None),
        ({"name": "timm:resnet18", "weights": "IMAGENET1K_V1"}, "IMAGENET1K_V1"),  # timm will say that it has none
        ({"name": "net.py:build", "transform": "net.py:transform"}, None),
        ({"name": "package.net:build", "transform": "net.py:transform", "weights": "a.pth"}, "a.pth"),
    ],
)
def test_weights_that_are_not_given_are_the_ones_of_the_network(model, weights):
    config = load({"run": "x", "dataset": {"source": "images"}, "model": model})
    assert config["model"]["weights"] == weights
    assert load(config) == config


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ({}, ["model.transform"]),
        ({"weights": "IMAGENET1K_V1"}, ["model.weights", "model.transform"]),
        ({"weights": "ResNet34_Weights.DEFAULT", "transform": "net.py:transform"}, ["model.weights"]),
        ({"weights": "weights.pth"}, ["model.transform"]),
    ],
)
@pytest.mark.parametrize("name", ["net.py:build", "package.net:build"])
def test_all_that_a_callable_lacks_is_named_at_once(name, model, keys):
    assert [problem.split(":")[0] for problem in problems(given("model", {"name": name, **model}))] == keys


def test_paths_below_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load({"run": "x", "dataset": {"source": "~/images"}, "model": {"weights": "~/w.pth"}})
    assert config["dataset"]["source"] == str(tmp_path / "images")
    assert config["model"]["weights"] == str(tmp_path / "w.pth")
    assert config["model"]["name"] == "resnet34"
