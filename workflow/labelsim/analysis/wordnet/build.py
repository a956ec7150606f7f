"""Makes `nouns.parquet` from WordNet 3.0's `data.noun`: `python -m labelsim.analysis.wordnet.build`.

The default path is that of Debian's package wordnet-base. In WordNet 3.0 the byte offset of a synset in that file is
the number in its wnid; other versions have other offsets.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from labelsim.analysis.wordnet import NOUNS

__all__ = ["build", "read_synsets"]

_SOURCE = Path("/usr/share/wordnet/data.noun")
_HYPERNYMS = ("@", "@i")  # an instance, such as a city, stands below its kind as kinds do


def build(source: Path) -> pa.Table:
    """The table of all noun synsets.

    Parameters
    ----------
    source : Path
        WordNet's file `data.noun`.

    Returns
    -------
    pyarrow.Table
        `offset` (int32, ascending), `hypernyms` (list of int32: their offsets, in the file's order), and `hyponyms`
        (int32: how many synsets are below it, directly or not, each counted once).
    """
    hypernyms = read_synsets(source)
    hyponyms = dict.fromkeys(hypernyms, 0)
    for offset in hypernyms:
        above, pending = set(), list(hypernyms[offset])
        while pending:
            synset = pending.pop()
            if synset not in above:
                above.add(synset)
                pending.extend(hypernyms[synset])
        for synset in above:
            hyponyms[synset] += 1
    return pa.table(
        {
            "offset": pa.array(hypernyms.keys(), pa.int32()),
            "hypernyms": pa.array(hypernyms.values(), pa.list_(pa.int32())),
            "hyponyms": pa.array(hyponyms.values(), pa.int32()),
        }
    )


def read_synsets(source: Path) -> dict[int, list[int]]:
    """Offsets of the hypernyms of each noun synset, by its offset.

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
            found[int(fields[0])] = [
                int(offset)
                for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True)
                if symbol in _HYPERNYMS
            ]
    return found


if __name__ == "__main__":
    table = build(Path(sys.argv[1]) if len(sys.argv) > 1 else _SOURCE)
    parquet.write_table(table, NOUNS, compression="zstd", compression_level=19, use_dictionary=False)  # few repeat
    print(f"{len(table):,} synsets in {NOUNS}")
