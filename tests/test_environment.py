import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def requirements(python: str) -> dict[str, str]:
    """Version that requirements.txt pins each package to, on Linux."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    marks = {"python_full_version": f"{python}.0", "python_version": python, "sys_platform": "linux"}
    marks |= {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    wanted = [r for r in parsed if r.marker is None or r.marker.evaluate(marks)]
    pinned = {canonicalize_name(r.name): str(r.specifier) for r in wanted}
    assert len(pinned) == len(wanted)  # none twice
    return pinned


def environment() -> tuple[str, dict[str, str]]:
    """Python version and pinned packages of environment.yml."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = next(d.removeprefix("python=") for d in dependencies if isinstance(d, str) and d.startswith("python="))
    packages = [Requirement(text) for entry in dependencies if isinstance(entry, dict) for text in entry["pip"]]
    return python, {canonicalize_name(package.name): str(package.specifier) for package in packages}


def project() -> list[Requirement]:
    """Direct dependencies of the package, those of its extras included; `make bench` alone installs its own."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [listed for extra, listed in table["optional-dependencies"].items() if extra != "bench"]
    return [Requirement(text) for text in sum(extras, table["dependencies"])]


def test_the_conda_environment_has_the_versions_of_the_requirements():
    python, packages = environment()
    pinned = requirements(python)
    assert packages == {name: pinned[name] for name in packages}


def test_the_conda_environment_lists_exactly_the_direct_dependencies():
    assert sorted(environment()[1]) == sorted(canonicalize_name(requirement.name) for requirement in project())


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_direct_dependency_is_pinned_within_its_bounds(python):
    pinned = requirements(python)
    for requirement in project():
        version = pinned[canonicalize_name(requirement.name)].removeprefix("==")
        assert requirement.specifier.contains(version), requirement


def test_every_requirement_is_pinned_to_one_version():
    for python in ("3.11", "3.12"):
        assert all(re.fullmatch(r"==[0-9][0-9a-z.]*", version) for version in requirements(python).values())


@pytest.mark.parametrize("name", ["requirements.txt", "environment.yml"])
def test_no_index_address_is_recorded(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not [word for word in ("://", "index", "find-links", "--", "@") if word in text]


def test_torch_and_torchvision_are_a_pair():
    # torchvision 0.N is built against torch 2.(N - 15); only such a pair imports.
    pinned = requirements("3.11")
    torch, torchvision = (tuple(map(int, pinned[n][2:].split("."))) for n in ("torch", "torchvision"))
    assert (torch[0], torchvision[0]) == (2, 0)
    assert torchvision[1] - torch[1] == 15
    assert all(requirements(python)[n] == pinned[n] for python in ("3.12", "3.13") for n in ("torch", "torchvision"))
