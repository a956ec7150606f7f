"""The page as a file, or as a folder; and that nothing in it can reach out."""

import json
import re
from hashlib import sha256
from html.parser import HTMLParser

import explored
import pytest

from labelsim.report.explorer import page as explorer_page
from labelsim.stages import explorer as stage

VENDOR = explorer_page._ASSETS / "vendor"
# As their packages on npm have them: preact/standalone.umd.js of htm 3.1.1, dist/umd/index.js of minisearch 7.2.0.
DIGESTS = {
    "htm-preact.js": "62c4ffea400078c0eda7f435b22726b4961ebdf74c8506f188e92bec41d8ac51",
    "minisearch.js": "03c27931eb603af1d3358579e9885eafdb6a2f5fa9929557b3e77d7e99d06d03",
}
NAMESPACE = "http://www.w3.org/2000/svg"


class Parsed(HTMLParser):
    """Scripts, addresses and the title of a page."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.addresses, self.title, self.tag = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tag = (tag, dict(attributes))
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        self.tag = None

    def handle_data(self, data):
        if self.tag == ("script", {}):
            self.scripts.append(data)
        if self.tag and self.tag[0] == "title":
            self.title += data


def test_vendored_libraries_are_what_their_authors_published():
    assert {file.name: sha256(file.read_bytes()).hexdigest() for file in VENDOR.glob("*.js")} == DIGESTS
    # Preact is inside htm's file.
    licenses = {"htm": "Apache License", "preact": "MIT License", "minisearch": "Permission is hereby granted"}
    for name, words in licenses.items():
        assert words in (VENDOR / f"LICENSE.{name}").read_text(encoding="utf-8")


def test_nothing_in_the_page_can_reach_out(page):
    text = page.read_text(encoding="utf-8")
    parsed = Parsed(text)
    assert parsed.addresses == []
    assert len(parsed.scripts) == 13
    libraries = [script for script in parsed.scripts if len(script) > 12_000 and "export" in script]
    assert len(libraries) == 2
    for library in libraries:
        text = text.replace(library, "")
        without_comments = re.sub(r"/\*.*?\*/|^\s*//.*?$", "", library, flags=re.DOTALL | re.MULTILINE)
        assert set(re.findall(r"https?://[^\"'\s]*", without_comments)) <= {NAMESPACE}
    assert not re.search(r"https?://|//# source", text)
    for word in (
        r"\bfetch\(",
        r"\bimport\(",
        r"\bWorker\b",
        r"XMLHttpRequest",
        r"WebSocket",
        r"sendBeacon",
        r"\beval\(",
    ):
        assert not re.search(word, text), word
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'")


def test_texts_from_users_are_escaped(page):
    text = page.read_text(encoding="utf-8")
    assert explored.ATTACK not in text
    assert Parsed(text).title == f"{explored.RUN} · labelsim"


@pytest.mark.parametrize("limit", ["budget", "classes"])
def test_a_large_run_is_a_folder_to_which_the_page_leads(run, page, tmp_path, monkeypatch, limit):
    if limit == "classes":
        monkeypatch.setattr(stage, "_ONE_FILE", 129)
    file = run.write(tmp_path / "explorer.html", **({"budget_mb": 0.1} if limit == "budget" else {}))
    text = file.read_text(encoding="utf-8")
    parsed = Parsed(text)
    assert parsed.addresses == ["explorer/index.html"]
    assert 'content="0; url=explorer/index.html"' in text
    assert parsed.title == f"{explored.RUN} · labelsim"
    whole = (tmp_path / "explorer/index.html").read_text(encoding="utf-8")
    assert Parsed(whole).scripts == Parsed(page.read_text(encoding="utf-8")).scripts
    assert 'data-piece="' not in re.sub(r"<script>.*?</script>", "", whole, flags=re.DOTALL)
    assert explored.pieces(file) == explored.pieces(page)
    # A smaller one takes its place.
    monkeypatch.undo()
    run.write(file)
    assert not (tmp_path / "explorer").exists()
    assert file.read_bytes() == page.read_bytes()


def test_the_digest_of_the_assets_knows_every_one_of_them(tmp_path, monkeypatch):
    for file in explorer_page._ASSETS.rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(explorer_page._ASSETS)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    digests = {explorer_page.assets_digest()}
    monkeypatch.setattr(explorer_page, "_ASSETS", tmp_path)
    assert {explorer_page.assets_digest()} == digests
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    for file in files:
        file.write_bytes(file.read_bytes() + b" ")
        digests.add(explorer_page.assets_digest())
    assert len(digests) == len(files) + 1 > 15


def test_a_run_without_analyses_has_a_page(run, tmp_path):
    contents = explored.pieces(run.write(tmp_path / "explorer.html", dict.fromkeys(list(run.files)[2:])))
    assert sorted(contents) == ["classes", "neighbors/0", "neighbors/1", "run"]


@pytest.mark.parametrize(
    "off",
    [
        ("stability", "class_stability"),
        ("evidence", "evidence_layers"),
        ("channels", "class_significance"),
        ("judgement",),
        ("agreement",),
        ("examples", "evidence_images"),
        ("map", "tree"),
        ("wordnet", "wordnet_pairs"),
    ],
)
def test_each_analysis_can_be_switched_off(run, tmp_path, off):
    page = run.write(tmp_path / "explorer.html", dict.fromkeys(off), thumbnails=0)
    told = json.loads(explored.pieces(page)["run"])
    assert sorted(told["tables"]) == sorted(set(run.files) - set(off))
    assert "agreement" in off or told["agreement"]
    assert ("judgement" in told) == ("judgement" not in off)
