import os
import subprocess
import sys

from labelsim.statistics.compiled import compiled

SCRIPT = """
import numpy as np
from labelsim.images.resize import _resize, resize_part
resize_part(np.zeros((9, 9, 3), np.uint8), (5, 5), (1, 1, 3, 3), "bilinear")
print(sum(_resize.stats.cache_hits.values()))
"""


def test_machine_code_is_kept_for_the_next_process(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    hits = [
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in hits] == ["0", "1"]


def test_a_function_whose_code_can_be_kept_nowhere_is_compiled_all_the_same():
    scope: dict = {}
    exec("def twice(number):\n    return 2 * number", scope)  # of no file, so beside no file
    assert compiled(scope["twice"])(21) == 42
