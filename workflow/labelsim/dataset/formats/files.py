"""What lies in a folder, and which of it counts."""

import errno
import os
import stat
from collections import Counter
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
    "first_entries",
    "is_folder",
    "is_image",
    "may_hold_images",
    "states",
    "stats",
    "why_ignored",
]

HIDDEN = "hidden files and folders"
NOT_UTF8 = "names that are not valid UTF-8"
SPECIAL = "entries that are not regular files"

_LOOKED_AT = 1000  # entries of a folder, to see what it is
_TYPES = MimeTypes()  # Python's own: mimetypes.guess_type adds what this machine knows


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
            f"{folder} cannot be listed: {error.strerror}. It must be a readable folder of images; it is never skipped."
        ) from error
    with found:
        yield from found


def why_ignored(name: str) -> str | None:
    """Why an entry of this name is ignored; None if it counts."""
    if name.startswith("."):
        return HIDDEN
    try:
        name.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return None


def stats(folder: str | Path, skipped: Counter[str]) -> Iterator[tuple[os.DirEntry[str], os.stat_result | None]]:
    """Yield the files and folders that count, with None if they cannot be looked at; count the others in `skipped`."""
    for entry in entries(folder):
        if reason := why_ignored(entry.name):
            skipped[reason] += 1
            continue
        try:
            status = entry.stat()
        except OSError:
            yield entry, None
            continue
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            yield entry, status
        else:
            skipped[SPECIAL] += 1


def first_entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return the first entries that count: enough to see what a folder is; errors as `entries`."""
    return list(islice((entry for entry in entries(folder) if not why_ignored(entry.name)), _LOOKED_AT))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one.

    Raises
    ------
    LabelsimError
        If this cannot be determined.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise LabelsimError(
            f"{entry.path} cannot be looked at: {error.strerror}. It may be a class folder: make it readable or remove "
            "it; it is never skipped."
        ) from error


def is_image(name: str) -> bool:
    """Whether a file has the extension of an image."""
    kind, encoding = _TYPES.guess_type(name, strict=False)  # strict would exclude .webp
    return encoding is None and (kind or "").startswith("image/")


def may_hold_images(folder: os.DirEntry[str]) -> bool:
    """Whether a folder may be a class: it has folders, or files with an image's extension or none."""
    return any(
        is_folder(entry) or is_image(entry.name) or not Path(entry.name).suffix for entry in first_entries(folder.path)
    )


def states(files: Iterable[tuple[str | Path, Path]]) -> str:
    """Digest names, sizes (but of folders) and modification times of files and folders; OSError if one is missing."""
    state = blake2b(digest_size=16)
    for name, file in files:
        status = file.stat()
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        state.update(b"%s\0%d\0%d\0" % (os.fsencode(name), size, status.st_mtime_ns))
    return state.hexdigest()
