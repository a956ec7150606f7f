"""What lies in a folder, and which of it does not count."""

import errno
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from mimetypes import MimeTypes
from pathlib import Path

from labelsim.errors import LabelsimError

__all__ = [
    "HIDDEN",
    "NOT_UTF8",
    "SPECIAL",
    "entries",
    "is_broken",
    "is_folder",
    "is_image",
    "left_out",
    "may_hold_images",
    "some",
    "states",
    "times",
]

HIDDEN = "hidden"
NOT_UTF8 = "names that are not valid UTF-8"
SPECIAL = "not regular files"

_LOOKED_AT = 1000  # entries of a folder, to see what it is
_TYPES = MimeTypes()  # Python's own: mimetypes.guess_type adds what the machine happens to know


def entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder, in no order.

    Raises
    ------
    LabelsimError
        If the folder cannot be listed.
    """
    try:
        found = os.scandir(folder)
    except OSError as error:
        raise LabelsimError(
            f"{folder} cannot be listed: {error.strerror}. It must be a folder of images that you may read; "
            "mend it, or take it away, so that no image is left out unnoticed."
        ) from error
    with found:
        yield from found


def left_out(name: str) -> str | None:
    """Why a name is left out; None if it is not."""
    if name.startswith("."):
        return HIDDEN
    try:
        name.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return None


def some(folder: str | Path) -> list[os.DirEntry[str]]:
    """The first entries of a folder that count: enough to see what it is.

    Raises
    ------
    LabelsimError
        If the folder cannot be listed.
    """
    return list(islice((entry for entry in entries(folder) if not left_out(entry.name)), _LOOKED_AT))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one.

    Raises
    ------
    LabelsimError
        If that cannot be seen.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise LabelsimError(
            f"{entry.path} cannot be looked at: {error.strerror}. It may be a class folder; "
            "mend it, or take it away, so that no class is left out unnoticed."
        ) from error


def is_broken(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to nothing."""
    return entry.is_symlink() and not Path(entry.path).exists()


def is_image(name: str) -> bool:
    """Whether a file is named as an image: its extension says so."""
    kind, encoding = _TYPES.guess_type(name, strict=False)  # strict would leave out .webp
    return encoding is None and (kind or "").startswith("image/")


def may_hold_images(folder: os.DirEntry[str]) -> bool:
    """Whether a folder may be a class's: it holds folders, or files that have an image's extension or none."""
    return any(is_folder(entry) or is_image(entry.name) or not Path(entry.name).suffix for entry in some(folder.path))


def times(folder: Path) -> str:
    """A digest of when a folder and those directly in it were changed; "missing" if the folder cannot be listed."""
    try:
        with os.scandir(folder) as found:
            stamps = [(entry.name, entry.stat().st_mtime_ns) for entry in found if is_folder(entry)]
        stamps.append(("", folder.stat().st_mtime_ns))
    except OSError:
        return "missing"
    lines = b"".join(b"%s\0%d\0" % (os.fsencode(name), time) for name, time in sorted(stamps))
    return blake2b(lines, digest_size=16).hexdigest()


def states(files: Iterable[tuple[str | Path, Path]]) -> str:
    """A digest of files: the name that each is given, its size and when it was changed.

    Raises
    ------
    OSError
        If one of them is not there.
    """
    found = [(name, file.stat()) for name, file in files]
    lines = (b"%s\0%d\0%d\0" % (os.fsencode(name), status.st_size, status.st_mtime_ns) for name, status in found)
    return blake2b(b"".join(lines), digest_size=16).hexdigest()
