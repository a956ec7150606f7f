from pathlib import Path

import pytest
from pyarrow import parquet

from labelsim.analysis.wordnet import NOUNS
from labelsim.analysis.wordnet.build import build

SOURCE = Path("/usr/share/wordnet/data.noun")


@pytest.mark.skipif(not SOURCE.is_file(), reason="Debian's wordnet-base is not installed")
def test_the_table_is_what_the_script_makes():
    assert build(SOURCE).equals(parquet.read_table(NOUNS))


def test_the_table_holds_all_nouns_below_one_root():
    table = parquet.read_table(NOUNS).to_pydict()
    assert len(table["offset"]) == 82_115  # of the manual page wnstats
    assert table["offset"] == sorted(table["offset"])
    above, hyponyms = (dict(zip(table["offset"], table[name], strict=True)) for name in ("hypernyms", "hyponyms"))
    assert [offset for offset, hypernyms in above.items() if not hypernyms] == [1740]  # entity
    assert hyponyms[1740] == 82_114
    assert above[10954498] == [10428004]  # Einstein is a physicist, an instance


def test_hyponyms_are_counted_once_and_instances_too(tmp_path):
    file = tmp_path / "data.noun"
    lines = [
        "  1 The licence",
        "00000010 03 n 01 thing 0 001 ~ 00000020 n 0000 | all there is",
        "00000020 03 n 0a a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 002 @ 00000010 n 0000 + 00000099 v 0101 | ten words",
        "00000030 03 n 01 other 0 001 @ 00000010 n 0000 | a kind",
        "00000040 03 n 01 both 0 002 @ 00000030 n 0000 @ 00000020 n 0000 | a kind of both",
        "00000050 03 n 01 Einstein 0 002 @i 00000040 n 0000 #p 00000020 n 0000 | an instance",
    ]
    file.write_text("\n".join(lines), encoding="ascii")
    assert build(file).to_pydict() == {
        "offset": [10, 20, 30, 40, 50],
        "hypernyms": [[], [10], [10], [30, 20], [40]],
        "hyponyms": [4, 2, 2, 1, 0],
    }
