"""The files in a tar archive, found and read in place."""

import errno
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from labelsim.dataset.formats.files import HIDDEN, NOT_UTF8, SPECIAL
from labelsim.dataset.manifest import FOUND
from labelsim.errors import LabelsimError

__all__ = ["Member", "found_members", "opened", "read_member", "tar_members"]

LINKS = "links in archives"
SPARSE = "sparse files in archives"

_BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(_BLOCK)
# More zeros than tar programs add are of a download that was not finished, in a file that got its full size at once.
_MOST_PADDING = 1 << 20
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x9d": "compress",
    b"PK\x03\x04": "zip",
}


class Member(NamedTuple):
    """A regular file in an archive: path without a leading `./`, position of its first byte, number of bytes."""

    name: str
    offset: int
    size: int


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open an archive; LabelsimError if it is no regular file, cannot be opened, or cannot be read in the block."""
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            raise LabelsimError(f"dataset.source: there is no archive {path}")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise LabelsimError(f"dataset.source: {path} cannot be read: {error.strerror}") from error


def tar_members(
    file: BinaryIO, where: str | Path, skipped: Counter[str], start: int = 0, size: int | None = None
) -> Iterator[Member]:
    """Iterate over the regular files in an uncompressed tar archive.

    The standard library's reader stops wherever there is no header. Here a block of zeros must mark the end, and only
    zeros may follow it. Incomplete archives are errors; they are never read in part.

    Parameters
    ----------
    file : binary file
        Where the archive is. Its position may change between two members.
    where : path
        What error messages call the archive.
    skipped : Counter
        Counts here, by kind, what is ignored: hidden files, links, other entries that are not regular files, sparse
        files (which are not stored in one piece), and names that are not UTF-8.
    start, size : int
        The part of the file that is the archive, if it is inside another one.

    Yields
    ------
    Member
        In the archive's order.

    Raises
    ------
    LabelsimError
        If the file is compressed or no tar archive, is cut off or damaged, or goes on after its end mark. Members
        before the fault have been yielded by then.
    """
    end = os.fstat(file.fileno()).st_size if size is None else start + size
    file.seek(start)
    head = file.read(min(_BLOCK, end - start))
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            raise LabelsimError(
                f"dataset.source: {where} is compressed ({program}). Images are read in place: uncompress it first."
            )
    at = start
    try:
        file.seek(start)
        archive = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
            regular = member.isreg() and not member.issparse()
            if archive.offset <= at or member.size < 0 or (regular and member.offset_data + member.size > end):
                raise _damaged(where, at)
            at = archive.offset
            if reason := _skip(member):
                skipped[reason] += 1
            elif regular:
                yield Member(str(PurePosixPath(member.name)), member.offset_data, member.size)
    except (tarfile.TarError, ValueError, OverflowError):  # damaged headers raise these too
        raise _damaged(where, at) from None
    _check_end(file, where, at, end)


def found_members(archive: str, names: Sequence[str], labels: Sequence[int], members: Sequence[Member]) -> pa.Table:
    """Return a table of members, with the columns of `labelsim.dataset.manifest.FOUND`."""
    offsets, sizes = [member.offset for member in members], [member.size for member in members]
    return pa.table([names, labels, [archive] * len(members), offsets, sizes], schema=FOUND)


def read_member(path: Path, offset: int, size: int) -> bytes:
    """Read a regular file in an uncompressed tar archive.

    Raises
    ------
    OSError
        If the archive cannot be read, or has no file of this size there because it was replaced.
    """
    with path.open("rb") as file:
        file.seek(offset - _BLOCK)
        data = file.read(_BLOCK + size)
    try:
        header = tarfile.TarInfo.frombuf(data[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.TarError:
        header = None
    if header is None or header.size != size or len(data) != _BLOCK + size:
        raise OSError(errno.EIO, f"no file of {size} bytes at byte {offset} of the archive", str(path))
    return data[_BLOCK:]


def _skip(member: tarfile.TarInfo) -> str | None:
    if member.isdir():
        return None
    if member.issym() or member.islnk():
        return LINKS
    if not member.isreg():
        return SPECIAL
    if member.issparse():
        return SPARSE
    if any(part.startswith(".") and part != ".." for part in PurePosixPath(member.name).parts):
        return HIDDEN
    try:
        member.name.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return None


def _check_end(file: BinaryIO, where: str | Path, at: int, end: int) -> None:
    """Check that the end mark follows the last member, and nothing follows it."""
    file.seek(at)
    if at + _BLOCK > end or file.read(_BLOCK) != _ZEROS:
        raise _damaged(where, at)
    padding = end - at - _BLOCK
    if padding > _MOST_PADDING:
        raise LabelsimError(
            f"dataset.source: {where} ends at byte {at:,}, but {padding:,} bytes follow. Either it was not copied to "
            "its end, or archives were joined together: copy it again, or split it."
        )
    if any(file.read(padding)):
        raise LabelsimError(
            f"dataset.source: {where} goes on after its end mark at byte {at:,}: it is damaged, or archives were "
            "joined together. Copy it again, or split it."
        )


def _damaged(where: str | Path, at: int) -> LabelsimError:
    what = f"cut off or damaged at byte {at:,}" if at else "no tar archive, or is damaged at its beginning"
    return LabelsimError(f"dataset.source: {where} is {what}: copy it again")
