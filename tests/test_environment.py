import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from importlib.metadata import requires as requirements_of
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "workflow" / "labelsim"
ENVIRONMENTS = {path.stem: path for path in (ROOT / "workflow/envs").glob("*.yaml")}


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


def environment(path: Path) -> tuple[str, dict[str, str]]:
    """Python version (3.11 if it is Snakemake's) and pinned packages of a conda environment."""
    dependencies = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    stated = [d.removeprefix("python=") for d in dependencies if isinstance(d, str) and d.startswith("python=")]
    (python,) = stated or ["3.11"]
    packages = [Requirement(text) for entry in dependencies if isinstance(entry, dict) for text in entry["pip"]]
    return python, {canonicalize_name(package.name): str(package.specifier) for package in packages}


def project() -> list[Requirement]:
    """Direct dependencies of the package, those of its extras included; `make bench` alone installs its own."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [listed for extra, listed in table["optional-dependencies"].items() if extra != "bench"]
    return [Requirement(text) for text in sum(extras, table["dependencies"])]


def rules() -> dict[str, tuple[str, Path]]:
    """Conda environment and script of each rule that has a script."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    found = {}
    for rule, body in re.findall(r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n|\n)*)", text, re.MULTILINE):
        if "    script:\n" in body:
            (conda,) = re.findall(r'"\.\./workflow/envs/(\w+)\.yaml"', body)
            (script,) = re.findall(r'"\.\./(workflow/scripts/\w+\.py)"', body)
            found[rule] = conda, ROOT / script
    return found


def imported(source: str) -> Iterator[str]:
    """Names of modules that are imported anywhere in the source, and of what is imported from them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def distributions(source: str) -> set[str]:
    """What a script needs to be installed: for itself, and for all modules of labelsim that it comes to import."""
    pending, seen, external = ["labelsim", *imported(source)], set(), set()
    while pending:
        name = pending.pop()
        top, *parts = name.split(".")
        if top != "labelsim":
            external.add(top)
        elif name not in seen:
            seen.add(name)
            path = PACKAGE.joinpath(*parts)
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file():
                    pending += [*imported(file.read_text(encoding="utf-8")), name.rpartition(".")[0] or "labelsim"]
    return {distribution(module) for module in external - sys.stdlib_module_names}


@cache
def distribution(module: str) -> str:
    names = {canonicalize_name(name) for name in packages_distributions()[module]}
    return min(names, key=len)  # several have files of triton, say


@cache
def brought_by(package: str) -> frozenset[str]:
    """A package and what its installation brings."""
    found, pending = {package}, [package]
    while pending:
        for requirement in map(Requirement, requirements_of(pending.pop()) or []):
            name = canonicalize_name(requirement.name)
            if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                found.add(name)
                pending.append(name)
    return frozenset(found)


def all_brought_by(packages: Iterable[str]) -> set[str]:
    return set().union(*map(brought_by, packages))


@pytest.mark.parametrize("rule", rules())
def test_the_environment_of_a_rule_has_what_its_script_imports(rule):
    name, script = rules()[rule]
    packages = environment(ENVIRONMENTS[name])[1]
    assert distributions(script.read_text(encoding="utf-8")) <= all_brought_by(packages)


@pytest.mark.parametrize("name", sorted(set(ENVIRONMENTS) - {"snakefile"}))
def test_the_environment_of_rules_has_no_package_that_none_of_its_scripts_imports(name):
    scripts = [script for conda, script in rules().values() if conda == name]
    needed = set().union(*(distributions(script.read_text(encoding="utf-8")) for script in scripts))
    assert set(environment(ENVIRONMENTS[name])[1]) <= needed


def test_snakemake_and_the_environment_of_the_snakefile_have_what_it_imports():
    lines = [line.strip() for line in (ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()]
    needed = distributions("\n".join(line for line in lines if line.startswith(("from ", "import "))))
    listed = set(environment(ENVIRONMENTS["snakefile"])[1])
    assert needed == listed | (needed & brought_by("snakemake"))


@pytest.mark.parametrize("path", [ROOT / "environment.yml", *ENVIRONMENTS.values()], ids=lambda path: path.stem)
def test_a_conda_environment_has_the_versions_of_the_requirements(path):
    python, packages = environment(path)
    pinned = requirements(python)
    assert packages == {name: pinned[name] for name in packages}


def test_the_conda_environment_lists_exactly_the_direct_dependencies():
    assert sorted(environment(ROOT / "environment.yml")[1]) == sorted(
        canonicalize_name(requirement.name) for requirement in project()
    )


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_direct_dependency_is_pinned_within_its_bounds(python):
    pinned = requirements(python)
    for requirement in project():
        version = pinned[canonicalize_name(requirement.name)].removeprefix("==")
        assert requirement.specifier.contains(version), requirement


def test_every_requirement_is_pinned_to_one_version():
    for python in ("3.11", "3.12"):
        assert all(re.fullmatch(r"==[0-9][0-9a-z.]*", version) for version in requirements(python).values())


@pytest.mark.parametrize("path", [ROOT / "requirements.txt", ROOT / "environment.yml", *ENVIRONMENTS.values()])
def test_no_index_address_is_recorded(path):
    text = path.read_text(encoding="utf-8")
    assert not [word for word in ("://", "index", "find-links", "--", "@") if word in text]


def test_torch_and_torchvision_are_a_pair():
    # torchvision 0.N is built against torch 2.(N - 15); only such a pair imports.
    pinned = requirements("3.11")
    torch, torchvision = (tuple(map(int, pinned[n][2:].split("."))) for n in ("torch", "torchvision"))
    assert (torch[0], torchvision[0]) == (2, 0)
    assert torchvision[1] - torch[1] == 15
    assert all(requirements(python)[n] == pinned[n] for python in ("3.12", "3.13") for n in ("torch", "torchvision"))
