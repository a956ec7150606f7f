"""Examples in the documentation that someone will copy."""

import re
from contextlib import chdir
from pathlib import Path

import analyses
import numpy as np
import torch
import yaml
from PIL import Image
from stagewise import run_stages

from labelsim.config import check_files, load
from labelsim.run import open_run

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str, start: str, language: str) -> list[str]:
    """The blocks in a language that follow a text of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text[text.index(start) :], re.DOTALL)


def test_the_example_of_an_own_network_runs(tmp_path):
    code, table, config = (
        blocks("config/README.md", "**Your own network.**", language)[0] for language in ("python", "csv", "yaml")
    )
    random = np.random.default_rng(0)
    for class_id in ("ant", "bee", "shell"):
        (tmp_path / "photos" / class_id).mkdir(parents=True)
        for number in range(2):
            pixels = random.integers(0, 256, (80, 90, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / class_id / f"{number}.png")
    (tmp_path / "my_network.py").write_text(code)
    (tmp_path / "my_classes.csv").write_text(table)
    made: dict = {}
    exec(code, made)
    network = made["build"]().eval()
    torch.save(network.state_dict(), tmp_path / "my_weights.pth")
    loaded = load(yaml.safe_load(config) | {"analysis": analyses.OFF})
    loaded["extract"] |= {"device": "cpu", "workers": 0}
    with chdir(tmp_path):
        check_files(loaded)
        run = open_run(tmp_path / run_stages(loaded).root)
    assert run.summary()["accuracy"]["images"] == 6
    # The same by torch alone: outputs are in the order of the table, not of the folders.
    outputs = [line.split(",")[0] for line in table.splitlines()[1:]]
    right = 0
    for class_id in outputs:
        for file in (tmp_path / "photos" / class_id).iterdir():
            with Image.open(file) as image, torch.inference_mode():
                right += outputs[network(made["transform"]()(image.convert("RGB"))[None]).argmax()] == class_id
    assert round(run.summary()["accuracy"]["top1"] * 6) == right
    assert run.classes()["class_name"].to_pylist() == ["ant", "honey bee", "sea shell"]


def test_the_example_profile_is_the_one_of_slurm_but_for_what_clusters_differ_in():
    example = yaml.safe_load(blocks("docs/cluster.md", "### An example profile", "yaml")[0])
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    for each in (example, profile):
        del each["jobs"], each["set-resources"]["extract"], each["set-threads"]["extract"], each["rerun-triggers"]
        each["default-resources"].pop("slurm_account", None)
    assert example == profile
