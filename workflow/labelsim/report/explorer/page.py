"""The explorer page as files: one that holds everything, or a small one beside its data."""

from __future__ import annotations

import gzip
import shutil
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labelsim.storage.atomic import write_whole
from labelsim.storage.digests import canonical, digest, file_digest

__all__ = ["assets_digest", "packed", "write_page"]

_ASSETS = Path(__file__).parent / "assets"
_LIBRARIES = ("vendor/htm-preact.js", "vendor/minisearch.js")
_SCRIPTS = ("data", "format", "parts", "search", "class", "pair", "plane", "map", "matrix", "verdict", "app")
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
        _write("page.html.jinja", output, title=title, pieces=pieces, **_parts())
        return
    for name, content in pieces.items():
        write_whole(
            folder / "data" / f"{name.replace('/', '-')}.js", f'labelsimPiece("{name}", "{content}");\n'.encode()
        )
    _write("page.html.jinja", folder / "index.html", title=title, pieces={}, **_parts())
    _write("link.html.jinja", output, title=title, link=f"{folder.name}/index.html")


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


def _write(template: str, output: Path, **values: Any) -> None:
    environment = Environment(loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined)
    write_whole(output, environment.get_template(template).render(values).encode())
