"""The explorer page as files: one that holds everything, or a small one beside its data."""

from __future__ import annotations

import gzip
import shutil
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labelsim.storage.atomic import write_whole
from labelsim.storage.damage import WRONG_CHECKSUM, damaged, read_bytes
from labelsim.storage.digests import canonical, digest, file_digest

__all__ = ["assets_digest", "packed", "verify_page", "write_page"]

_ASSETS = Path(__file__).parent / "assets"
_LIBRARIES = ("vendor/htm-preact.js", "vendor/minisearch.js")
_SCRIPTS = ("data", "format", "parts", "search", "class", "pair", "plane", "map", "matrix", "verdict", "app")
_CHECKSUM = "<!-- checksum {} -->\n"  # of a page and of the files in its folder, after the page
_IMAGE = b"RIFF"  # WebP begins so, and is compressed already


def packed(content: bytes) -> str:
    """A piece of data as text: compressed, unless it is an image, in base64."""
    return b64encode(content if content.startswith(_IMAGE) else gzip.compress(content, 9, mtime=0)).decode()


def write_page(pieces: Mapping[str, str], title: str, output: Path, as_folder: bool) -> None:
    """Write the page.

    Parameters
    ----------
    pieces : mapping of str to str
        Name and `packed` content of each piece of data.
    title : str
        Of the page.
    output : Path
        The HTML file.
    as_folder : bool
        Whether to put the page, and its data as files that are loaded when they are needed, into a folder beside
        `output`, which then only leads there. Otherwise `output` holds everything.
    """
    folder = output.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    if not as_folder:
        _write(output, _rendered("page.html.jinja", title=title, pieces=pieces, **_parts()))
        return
    for name, content in pieces.items():
        write_whole(
            folder / "data" / f"{name.replace('/', '-')}.js", f'labelsimPiece("{name}", "{content}");\n'.encode()
        )
    write_whole(folder / "index.html", _rendered("page.html.jinja", title=title, pieces={}, **_parts()).encode())
    _write(output, _rendered("link.html.jinja", title=title, link=f"{folder.name}/index.html"))


def verify_page(page: Path) -> list[Path]:
    """The files of a page that `write_page` wrote: itself, and those in its folder.

    Raises
    ------
    LabelsimError
        If any of them is missing, cannot be read, or has changed.
    """
    text, mark, rest = read_bytes(page).decode(errors="replace").rpartition(_CHECKSUM.partition("{")[0])
    files = _folder(page)
    if mark + rest != _checksum(text, files):
        raise damaged(page, WRONG_CHECKSUM)
    return [page, *files]


def assets_digest() -> str:
    """Digest of the template, scripts and styles of the page."""
    files = [file for file in sorted(_ASSETS.rglob("*")) if file.is_file()]
    return digest(canonical({str(file.relative_to(_ASSETS)): file_digest(file) for file in files}))


def _parts() -> dict[str, Any]:
    names = [*_LIBRARIES, *(f"{name}.js" for name in _SCRIPTS)]
    return {
        "style": Markup((_ASSETS / "explorer.css").read_text(encoding="utf-8")),
        "scripts": [_script(_ASSETS / name) for name in names],
    }


def _script(file: Path) -> Markup:
    """A script without the line that tells a debugger where its source is."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return Markup("\n".join(line for line in lines if not line.startswith("//#")))


def _rendered(template: str, **values: Any) -> str:
    environment = Environment(loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(values) + "\n"


def _write(output: Path, text: str) -> None:
    write_whole(output, (text + _checksum(text, _folder(output))).encode())


def _folder(page: Path) -> list[Path]:
    return sorted([*page.with_suffix("").glob("index.html"), *page.with_suffix("").glob("data/*.js")])


def _checksum(text: str, files: Sequence[Path]) -> str:
    return _CHECKSUM.format(digest(canonical([text, {file.name: file_digest(file) for file in files}])))
