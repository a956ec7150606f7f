"""The Dockerfile, as far as it can be checked without a builder."""

import re
import shlex
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def instructions():
    """Of the Dockerfile: (name, arguments), with lines that go on joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def of(name):
    return [arguments for found, arguments in instructions() if found == name]


def copied():
    return [path for arguments in of("COPY") for path in shlex.split(arguments)[:-1]]


def test_what_is_copied_is_there_and_not_ignored():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert set(copied()) == allowed
    assert all((ROOT / path).exists() and not (ROOT / path).is_symlink() for path in allowed)


def test_what_the_workflow_includes_is_copied():
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert {Path(path).parts[0] for path in re.findall(r'include: "(.+)"', snakefile)} <= set(copied())
    assert {"workflow", "config", "pyproject.toml"} <= set(copied())


def test_dependencies_come_before_the_code_and_have_the_pinned_versions():
    names = [name for name, _ in instructions()]
    install = next(i for i, (_, arguments) in enumerate(instructions()) if "--constraint requirements.txt" in arguments)
    before = [path for name, arguments in instructions()[:install] if name == "COPY" for path in arguments.split()[:-1]]
    assert before == ["pyproject.toml", "requirements.txt"]
    assert names.index("FROM") == 0
    assert not [arguments for arguments in of("RUN") if "--requirement requirements.txt" in arguments]


def test_extras_are_those_of_the_package_but_for_development():
    chosen = set(re.findall(r"--extra (\w+)", " ".join(of("RUN"))))
    extras = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    )
    assert chosen <= extras - {"dev", "bench"}
    assert {"timm", "slurm"} <= chosen


def test_python_is_one_that_the_package_supports():
    (image,) = of("FROM")
    major, minor = map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim-\w+", image).groups())
    assert (major, minor) >= (3, 11)


def test_jobs_are_not_root_and_any_user_can_write():
    assert int(of("USER")[-1]) > 0
    writable = next(arguments for arguments in of("RUN") if "chmod 1777" in arguments)
    home = dict(shlex.split(arguments)[0].split("=") for arguments in of("ENV"))["HOME"]
    assert home in writable
    assert of("WORKDIR")[-1] in writable
    assert not of("ENTRYPOINT")


def test_no_address_is_recorded():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not [word for word in ("://", "--index", "find-links", "pypi") if word in text]
