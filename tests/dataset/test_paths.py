"""Which files a pattern stands for, whatever its folders and the files are called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsim.dataset.paths import expand, parts, root
from labelsim.errors import LabelsimError

ODD = ["set [1]", "set{1", "a}b", "{a,b}", "[ab]", "x*", "what?"]


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_folders_of_any_name(tmp_path, monkeypatch, name, relative):
    make(tmp_path, f"{name}/0.tar", f"{name}/1.tar", "set 1/2.tar", "a/3.tar", "xy/4.tar")
    monkeypatch.chdir(tmp_path)
    above = Path() if relative else tmp_path
    two = [above / name / "0.tar", above / name / "1.tar"]
    for pattern in ("*.tar", "{0,1}.tar", "[01].tar", "{0..1}.t*"):
        assert expand(above / name / pattern) == two
        assert root(above / name / pattern) == above / name
    assert expand(above / "*" / "2.tar") == [above / "set 1" / "2.tar"]


@pytest.mark.parametrize("name", ODD)
def test_files_of_any_name(tmp_path, name):
    make(tmp_path, f"{name}.tar", "set 1.tar", "b.tar", "xy.tar")
    assert expand(tmp_path / f"{name}.tar") == [tmp_path / f"{name}.tar"]


def test_what_braces_make_may_have_any_name(tmp_path):
    make(tmp_path, "0 [1].tar", "1 [1].tar", "1 1.tar")
    assert expand(tmp_path / "{0,1} [1].tar") == [tmp_path / "0 [1].tar", tmp_path / "1 [1].tar"]
    make(tmp_path, "x [1]/0.tar", "y [1]/0.tar")
    assert expand(tmp_path / "{x,y} [1]/*.tar") == [tmp_path / "x [1]/0.tar", tmp_path / "y [1]/0.tar"]
    assert root(tmp_path / "{x,y} [1]/*.tar") == tmp_path


def test_absolute_and_relative_paths_in_braces_are_an_error(tmp_path, monkeypatch):
    make(tmp_path, "a/0.tar", "b/0.tar")
    monkeypatch.chdir(tmp_path)
    assert expand(f"{{{tmp_path}/a,{tmp_path}/b}}/*.tar") == [tmp_path / "a/0.tar", tmp_path / "b/0.tar"]
    for ask in (expand, root):
        with pytest.raises(LabelsimError, match=r"dataset\.source: .*absolute and relative"):
            ask(f"{{{tmp_path}/a,b}}/*.tar")


@given(st.text(st.sampled_from("ab{},.[]*?/0 "), max_size=12))
def test_any_text_gives_files_or_an_error_for_people(tmp_path_factory, text):
    for source in (f"x{text}", tmp_path_factory.getbasetemp() / f"x{text}"):
        try:
            found, below = parts(source), root(source)
        except LabelsimError:
            continue
        assert all(
            Path(part) == file for part, files in found.items() for file in files
        )  # there is nothing: no pattern
        assert below == Path(source).parent
