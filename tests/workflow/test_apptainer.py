"""Jobs in a container, by a stand-in for Apptainer that notes how it is called and runs the command outside."""

import os
import sys
from pathlib import Path

import pytest
import small
from workflows import ENVIRONMENT

APPTAINER = f"""#!/bin/sh
echo "$*" | head -1 >> calls.log
test "$1" = --version && echo "apptainer version 1.3.0" && exit
for command; do true; done
PATH={Path(sys.executable).parent}:$PATH exec bash -c "$command"
"""


@pytest.mark.parametrize("image", [None, "/images/other.sif"])
def test_each_job_runs_in_the_image(tmp_path, run, monkeypatch, image):
    folder = small.write(tmp_path / "run")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apptainer").write_text(APPTAINER, encoding="utf-8")
    (tmp_path / "bin/apptainer").chmod(0o755)
    monkeypatch.setitem(ENVIRONMENT, "PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delitem(ENVIRONMENT, "LABELSIM_IMAGE", raising=False)
    if image:
        monkeypatch.setitem(ENVIRONMENT, "LABELSIM_IMAGE", image)
    sdm = ["--sdm", "apptainer", "--apptainer-args", "--nv --bind /data"]
    outcome = run(folder, *sdm, "--", "results/small/manifest.parquet")
    assert outcome.code == 0, outcome.output
    assert (folder / "results/small/manifest.parquet").exists()
    call = (folder / "calls.log").read_text(encoding="utf-8").splitlines()[-1]
    assert call.split().count(image or "labelsim.sif") == 1
    assert "--nv --bind /data" in call
