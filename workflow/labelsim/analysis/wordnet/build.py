"""Makes `nouns.parquet` from WordNet 3.0's `data.noun`: `python -m labelsim.analysis.wordnet.build`.

The default path is that of Debian's package wordnet-base. In WordNet 3.0 the byte offset of a synset in that file is
the number in its wnid; other versions have other offsets.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import parquet

from labelsim.analysis.wordnet import NOUNS

__all__ = ["Synset", "build", "read_synsets"]

_SOURCE = Path("/usr/share/wordnet/data.noun")
_HYPERNYMS = ("@", "@i")  # an instance, such as a city, stands below its kind as kinds do


class Synset(NamedTuple):
    """A noun synset.

    Attributes
    ----------
    lemmas : list of str
        Its words, with spaces for underscores.
    hypernyms : list of int
        Offsets of its hypernyms. Both are in the file's order.
    """

    lemmas: list[str]
    hypernyms: list[int]


def build(source: Path) -> pa.Table:
    """The table of all noun synsets.

    Parameters
    ----------
    source : Path
        WordNet's file `data.noun`.

    Returns
    -------
    pyarrow.Table
        `offset` (int32, ascending), `lemmas` (list of string) and `hypernyms` (list of int32) as in `Synset`, and
        `hyponyms` (int32: how many synsets are below it, directly or not, each counted once).
    """
    synsets = read_synsets(source)
    hyponyms = dict.fromkeys(synsets, 0)
    for synset in synsets.values():
        above, pending = set(), list(synset.hypernyms)
        while pending:
            offset = pending.pop()
            if offset not in above:
                above.add(offset)
                pending.extend(synsets[offset].hypernyms)
        for offset in above:
            hyponyms[offset] += 1
    return pa.table(
        {
            "offset": pa.array(synsets.keys(), pa.int32()),
            "lemmas": pa.array([synset.lemmas for synset in synsets.values()], pa.list_(pa.string())),
            "hypernyms": pa.array([synset.hypernyms for synset in synsets.values()], pa.list_(pa.int32())),
            "hyponyms": pa.array(hyponyms.values(), pa.int32()),
        }
    )


def read_synsets(source: Path) -> dict[int, Synset]:
    """Each noun synset, by its offset.

    Each line is a synset: offset, file number, type, number of words (hexadecimal), words with their sense numbers,
    number of pointers, pointers of four fields (symbol, offset, part of speech, which words). Lines that begin with a
    space hold the licence. See `man 5 wndb`.
    """
    found = {}
    with source.open(encoding="ascii") as file:
        for line in file:
            if line.startswith(" "):
                continue
            fields = line.split()
            first = 4 + 2 * int(fields[3], base=16)
            pointers = fields[first + 1 : first + 1 + 4 * int(fields[first])]
            hypernyms = [
                int(offset)
                for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True)
                if symbol in _HYPERNYMS
            ]
            found[int(fields[0])] = Synset([word.replace("_", " ") for word in fields[4:first:2]], hypernyms)
    return found


if __name__ == "__main__":
    table = build(Path(sys.argv[1]) if len(sys.argv) > 1 else _SOURCE)
    parquet.write_table(table, NOUNS, compression="zstd", compression_level=19, use_dictionary=False)  # few repeat
    print(f"{len(table):,} synsets in {NOUNS}")
