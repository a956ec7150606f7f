"""The profiles, as Snakemake's own parser reads them. Options of plugins that are not installed cannot be parsed."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser

ROOT = Path(__file__).resolve().parents[1]
PROFILES = {path.parent.name: path for path in (ROOT / "workflow/profiles").glob("*/config.yaml")}
CLOUDS = ("kubernetes", "aws-batch", "googlebatch")

# AWS's table for Fargate, which version 0.2.1 of the plugin asks of every job: GB that go with so many cores.
AWS_MEMORY = {1: range(2, 9), 2: range(4, 17), 4: range(8, 31), 8: range(16, 61, 4)}


def read(name):
    return yaml.safe_load(PROFILES[name].read_text(encoding="utf-8"))


def rules():
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    return set(re.findall(r"^(?:rule|checkpoint) (\w+):", "\n".join(map(Path.read_text, files)), re.MULTILINE))


def test_every_profile_is_here():
    assert set(PROFILES) >= {"default", "local", "slurm", *CLOUDS}


@pytest.mark.parametrize("name", PROFILES)
def test_each_key_is_an_option_of_snakemake(name, tmp_path, monkeypatch):
    profile = read(name)
    executor = profile.get("executor", "local")
    if executor != "local" and find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}") is None:
        profile = {key: value for key, value in profile.items() if not key.startswith(f"{executor}-")}
        del profile["executor"]  # one of those that are installed
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    parsed = vars(get_argument_parser([str(tmp_path)]).parse_args([]))  # ends the process if a key is unknown
    for key in {"jobs", "retries", "container-image", "precommand", "latency-wait"} & set(profile):
        assert str(parsed[key.replace("-", "_")]) == str(profile[key]).strip()
    for key in ("set-resources", "set-threads"):
        assert set(parsed[key.replace("-", "_")] or {}) == set(profile.get(key, {}))


@pytest.mark.parametrize("name", PROFILES)
def test_the_rules_that_a_profile_names_exist(name):
    profile = read(name)
    named = {*profile.get("set-resources", {}), *profile.get("set-threads", {}), *profile.get("groups", {})}
    assert named | set(profile.get("preemptible-rules", [])) <= rules()
    assert set(profile.get("group-components", {})) <= set(profile.get("groups", {}).values())


@pytest.mark.parametrize("name", ["kubernetes", "googlebatch"])
def test_the_jobs_that_share_a_machine_are_those_of_slurm(name):
    assert read(name)["groups"] == read("slurm")["groups"]


@pytest.mark.parametrize("name", PROFILES)
def test_triggers_are_those_of_the_default_profile_or_fewer(name):
    assert "code" not in read(name)["rerun-triggers"]
    assert {"mtime", "params", "input"} <= set(read(name)["rerun-triggers"])


@pytest.mark.parametrize("name", CLOUDS)
def test_a_profile_for_a_cloud_says_that_it_is_untested(name):
    assert "Not tested" in PROFILES[name].read_text(encoding="utf-8").partition("\n")[0]


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("kubernetes", {"gpu": 1, "gpu_manufacturer": "nvidia", "scale": 0}),
        ("aws-batch", {"_gpus": 1}),
        ("googlebatch", {"nvidia_gpu": "nvidia-l4"}),
    ],
)
def test_extraction_asks_for_a_gpu_as_the_plugin_reads_it(name, gpu):
    resources = read(name)["set-resources"]["extract"]
    assert resources == resources | gpu


def test_aws_gives_each_job_the_memory_that_it_asks_for():
    profile = read("aws-batch")
    assert "groups" not in profile  # sums are in no table
    default = profile["default-resources"]["mem_mb"]
    for rule in rules():
        cores = profile["set-threads"].get(rule, 1)
        asked = profile["set-resources"].get(rule, {}).get("mem_mb", default)
        for attempt in range(1, profile["retries"] + 2):
            memory = eval(str(asked), {"attempt": attempt, "min": min})
            assert memory % 1024 == 0
            assert memory // 1024 in AWS_MEMORY[cores], (rule, attempt)
