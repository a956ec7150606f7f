import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from importlib.metadata import version
from pathlib import Path
from random import Random

import numpy as np
import pytest
import toy
import xarray
from PIL import Image
from pyarrow import parquet

from labelsim.errors import LabelsimError
from labelsim.jobs.clock import PARTS
from labelsim.jobs.provenance import identity
from labelsim.stages.extract import extract
from labelsim.stages.network import network
from labelsim.storage.digests import canonical, digest

# Extracts in a process of its own; the arguments are the paths of a job and the configuration.
PROCESS = """
import json, sys
from pathlib import Path
from labelsim.stages.extract import extract

extract(*map(Path, sys.argv[1:6]), json.loads(sys.argv[6]), "code", threads=1)
"""
STATS = {
    "device",
    "images",
    "images_resumed",
    "images_rejected",
    "underflow",
    "images_per_second",
    "seconds",
    "seconds_by_part",
}


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def opened(store: Path) -> xarray.Dataset:
    return xarray.open_zarr(store, consolidated=False, chunks=None).load()


def chunks_done(journal: Path) -> int:
    """Lines of a journal after the first, which is the header."""
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def moved(job, folder):
    """The same job, with outputs in another folder."""
    folder.mkdir()
    return job._replace(**{name: folder / getattr(job, name).name for name in ("store", "rejects", "stats")})


def begun(job, whole) -> Path:
    """Put into a job's place what another one had left when it had recorded ten chunks; return the journal."""
    shutil.copytree(whole.store, job.store, dirs_exist_ok=True)
    journal = job.store.with_suffix(".journal")
    lines = whole.store.with_suffix(".journal").read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[:11]), encoding="utf-8")
    (job.store / "zarr.json").unlink()
    return journal


def killed_after(chunks: int, job, config) -> int:
    """Start the job in a process and kill it when so many chunks are done; return how many were."""
    journal = job.store.with_suffix(".journal")
    command = [sys.executable, "-c", PROCESS, *map(str, job), json.dumps(config)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, env=environment) as process:
        while chunks_done(journal) < chunks:
            assert process.poll() is None, "the job ended before it was killed"
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return chunks_done(journal)


def test_a_killed_job_resumes_and_its_store_is_equal_bit_for_bit(job, config, tmp_path, caplog):
    whole = moved(job, tmp_path / "whole")
    assert whole.run(config)["images_resumed"] == 0
    random = Random(11)
    assert len(parquet.read_table(job.shard)) == 170
    for chunks in sorted(random.sample(range(1, 40), 3)):  # of 43 chunks of 4 images
        # Each kill adds to what the ones before had left.
        done = killed_after(chunks, job, config)
        assert chunks <= done < 43
        assert not (job.store / "zarr.json").exists()
        with pytest.raises(FileNotFoundError):
            opened(job.store)
    caplog.clear()
    with caplog.at_level("INFO", logger="labelsim"):
        stats = job.run(config)
    assert stats["images_resumed"] == 4 * done
    assert f"resumed, {4 * done} of them done before" in caplog.text
    assert files(job.store) == files(whole.store)
    assert job.rejects.read_bytes() == whole.rejects.read_bytes()
    assert stats["images_rejected"] == 3


@pytest.fixture
def interrupted(job, config):
    """A job of which some chunks are done and some are not."""
    job.run(config)
    journal = job.store.with_suffix(".journal")
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[:11]), encoding="utf-8")
    (job.store / "zarr.json").unlink()
    return job


def test_same_identity_keeps_what_is_done(interrupted, config):
    config["extract"]["batch_size"] = 2  # no part of the identity
    assert interrupted.run(config)["images_resumed"] == 40


@pytest.mark.parametrize("changed", ["dtype", "precision", "network", "callable", "code"])
def test_another_identity_keeps_nothing(interrupted, config, prepared, tmp_path, changed):
    code = "code"
    if changed == "dtype":
        config["store"]["dtype"] = "float16"
    elif changed == "precision":
        config["extract"]["precision"] = "bfloat16"
    elif changed == "network":
        toy.write_network(tmp_path / "network.py", seed=2)
        interrupted = interrupted._replace(network=prepared("other", config).network)
    elif changed == "callable":  # of the same file, and with the same weights
        with (tmp_path / "network.py").open("a", encoding="utf-8") as file:
            lines = ["module = network()", "module.pool = nn.AdaptiveMaxPool2d(1)", "return module"]
            file.write("\n\ndef largest():\n" + "".join(f"    {line}\n" for line in lines))
        config["model"]["name"] = "network.py:largest"
        interrupted = interrupted._replace(network=prepared("other", config).network)
    else:
        code = "other code"
    assert interrupted.run(config, code)["images_resumed"] == 0
    expected = moved(interrupted, tmp_path / "expected")
    expected.run(config, code)
    assert files(interrupted.store) == files(expected.store)


def test_a_damaged_chunk_is_made_again(interrupted, config, tmp_path):
    chunk = interrupted.store / "gap" / "c" / "2" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-5] + b"wrong")
    assert interrupted.run(config)["images_resumed"] == 36
    expected = moved(interrupted, tmp_path / "expected")
    expected.run(config)
    assert files(interrupted.store) == files(expected.store)


def test_rejects_leave_the_other_images_unharmed(job, config, prepared):
    job.run(config)
    found = opened(job.store)
    rejects = parquet.read_table(job.rejects).to_pylist()
    assert [row["sample_id"] for row in rejects] == sorted(toy.REJECTS)
    for row in rejects:
        assert row["class_id"] == row["sample_id"].split("/")[0]
        assert row["reason"].startswith(toy.REJECTS[row["sample_id"]])
    rejected = np.isin(found["sample_id"], list(toy.REJECTS))
    for name in toy.REJECTS:
        (Path("images") / name).unlink()
    without = prepared("without", config)
    without.run(config)
    expected = opened(without.store)
    assert len(parquet.read_table(without.rejects)) == 0
    np.testing.assert_array_equal(found["sample_id"][~rejected], expected["sample_id"])
    for name in ("gap", "hidden", "logits"):
        assert np.isnan(found[name][rejected]).all()
        # The images meet in other batches, in which float32 sums may run in another order.
        np.testing.assert_allclose(found[name][~rejected], expected[name], rtol=1e-5, atol=1e-6)


def test_an_image_that_vanished_is_a_reject(job, config):
    (Path("images") / "owl" / "bild 00.png").unlink()
    assert job.run(config)["images_rejected"] == 4
    rows = {row["sample_id"]: row["reason"] for row in parquet.read_table(job.rejects).to_pylist()}
    assert rows["owl/bild 00.png"] == "cannot be read: No such file or directory"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_output_that_is_not_finite_is_a_reject(job, config, prepared, tmp_path, precision, dtype):
    config["extract"]["precision"], config["store"]["dtype"] = precision, dtype
    code = (tmp_path / "network.py").read_text(encoding="utf-8")
    code = code.replace("    return network\n", "    return nn.Sequential(Brightest(), network)\n") + (
        "\n\nclass Brightest(nn.Module):\n"
        "    def forward(self, x):\n"
        "        x = x + 2  # black is 0 now\n"
        "        return x / x.amax(dim=(1, 2, 3), keepdim=True)\n"
    )
    (tmp_path / "network.py").write_text(code, encoding="utf-8")
    Image.new("RGB", (30, 30)).save(tmp_path / "images" / "owl" / "black.png")
    black = prepared("black", config)
    assert black.run(config)["images_rejected"] == 4
    rows = {row["sample_id"]: row["reason"] for row in parquet.read_table(black.rejects).to_pylist()}
    reason = rows["owl/black.png"]
    assert reason.startswith("the network's output is not finite: gap, hidden, logits")
    assert ("extract.precision" in reason) == (precision != "float32")
    assert "store.dtype" not in reason
    found = opened(black.store)
    rejected = np.isin(found["sample_id"], list(rows))
    for name in ("gap", "hidden", "logits"):
        assert np.isnan(found[name][rejected]).all()
        assert np.isfinite(found[name][~rejected]).all()


def test_float16_store(job, config, tmp_path):
    job.run(config)
    half = moved(job, tmp_path / "half")
    config["store"]["dtype"] = "float16"
    half.run(config)
    found, expected = opened(half.store), opened(job.store)
    for name in ("gap", "hidden", "logits"):
        assert found[name].dtype == np.float16
        np.testing.assert_array_equal(found[name], expected[name].astype(np.float16))


def scaled(layer: str, factor: float, folder: Path) -> None:
    """Multiply the weights and the bias of a layer of the toy network."""
    file = folder / "network.py"
    lines = "".join(f"        network.{layer}.{name} *= {factor}\n" for name in ("weight", "bias"))
    code = file.read_text(encoding="utf-8").replace("    return network\n", f"{lines}    return network\n")
    file.write_text(code, encoding="utf-8")


def test_values_too_large_for_the_store_are_rejects_of_its_dtype(job, config, prepared, tmp_path):
    scaled("head", 1e6, tmp_path)
    config["extract"]["precision"] = "bfloat16"
    config["store"]["dtype"] = "float16"
    large = prepared("large", config)
    rejected = large.run(config)["images_rejected"]
    reasons = {row["reason"] for row in parquet.read_table(large.rejects).to_pylist()}
    reasons -= {reason for reason in reasons if reason.startswith(tuple(toy.REJECTS.values()))}
    (reason,) = reasons
    assert rejected > 100
    assert "float16: logits; store.dtype" in reason
    assert "extract.precision" not in reason
    config["store"]["dtype"] = "float32"
    assert moved(large, tmp_path / "whole").run(config)["images_rejected"] == len(toy.REJECTS)


@pytest.fixture
def small_values(job, config, prepared, tmp_path):
    """A job of which about half of a layer's values are too small for float16; and how many are, by NumPy."""
    scaled("conv1", 1e-7, tmp_path)
    scaled("head", 1e-6, tmp_path)
    exact = prepared("exact", config)
    assert exact.run(config)["underflow"] == {}
    found = opened(exact.store)
    with np.errstate(over="ignore"):
        lost = {
            name: (found[name] != 0) & (found[name].astype(np.float16) == 0) for name in ("gap", "hidden", "logits")
        }
    of_layer = lost["gap"].to_numpy().sum(axis=0)
    expected = {
        f"gap of {layer}": int(of_layer[(found["layer"] == layer).to_numpy()].sum()) for layer in toy.LAYERS
    } | {name: int(lost[name].sum()) for name in ("hidden", "logits")}
    config["store"]["dtype"] = "float16"
    return moved(exact, tmp_path / "half"), {part: number for part, number in expected.items() if number}


def test_values_too_small_for_the_store_are_counted_and_told(small_values, config, caplog):
    job, expected = small_values
    assert set(expected) == {"gap of conv1", "logits"}
    assert job.run(config)["underflow"] == expected
    (warning,) = [record.getMessage() for record in caplog.records if "store.dtype" in record.getMessage()]
    images = 170 - len(toy.REJECTS)
    assert f"{100 * expected['gap of conv1'] / (6 * images):.1f} % of the values of gap of conv1" in warning
    assert f"{100 * expected['logits'] / (13 * images):.1f} % of the values of logits" in warning


def test_a_resumed_job_counts_what_the_one_before_it_lost(small_values, config, tmp_path):
    job, expected = small_values
    whole = moved(job, tmp_path / "whole")
    whole.run(config)
    done = killed_after(20, job, config)
    stats = job.run(config)
    assert (stats["images_resumed"], stats["underflow"]) == (4 * done, expected)
    assert files(job.store) == files(whole.store)


def test_chunks_that_other_versions_computed_are_named(job, config, caplog):
    job.run(config)
    journal = job.store.with_suffix(".journal")
    header, first, *rest = journal.read_text(encoding="utf-8").splitlines()
    entry = json.loads(first.partition(" ")[2])
    entry["note"]["versions"]["torch"] = "2.6.0"
    text = canonical(entry)
    journal.write_text("\n".join([header, f"{digest(text)} {text}", *rest, ""]), encoding="utf-8")
    (job.store / "zarr.json").unlink()
    job.run(config)
    assert {found["torch"] for found in opened(job.store).attrs["computed_by"]} == {"2.6.0", version("torch")}
    assert any("2.6.0" in record.getMessage() for record in caplog.records if record.levelname == "WARNING")


def test_stats(job, config):
    stats = job.run(config)
    assert set(stats) == {*STATS, "checksum"}
    assert (stats["device"], stats["images"], stats["images_rejected"]) == ("cpu", 170, 3)
    parts = stats["seconds_by_part"]
    assert list(parts) == list(PARTS)
    assert sum(parts.values()) == pytest.approx(stats["seconds"], abs=0.005)  # each is rounded to thousandths
    for part in ("starting", "decoding", "network"):
        assert parts[part] > 0
    rate = stats["images"] / (stats["seconds"] - parts["starting"])
    assert stats["images_per_second"] == pytest.approx(rate, rel=0.01)


def test_a_network_that_is_not_the_one_described_is_refused(job, config, tmp_path):
    toy.write_network(tmp_path / "network.py", seed=3)
    with pytest.raises(LabelsimError, match=r"not the one described in job/network\.json: weights_digest is"):
        job.run(config)
    assert not (job.store / "zarr.json").exists()


def test_a_device_that_is_not_there_is_refused(job, config):
    config["extract"]["device"] = "cuda:99"
    with pytest.raises(LabelsimError, match=r"extract\.device: 'cuda:99' is not there"):
        job.run(config)


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
def test_a_compiled_network_has_the_same_features_and_resumes_bit_for_bit(job, config, tmp_path):
    job.run(config)
    plain = opened(job.store)
    config["extract"]["compile"] = True
    config["extract"]["batch_size"] = 3  # chunks of 4: batches of 3 and of 1, which is filled up
    whole = moved(job, tmp_path / "whole")
    whole.run(config)
    compiled = opened(whole.store)
    for name in ("gap", "hidden", "logits"):
        # Sums of up to a hundred float32 numbers, in another order.
        np.testing.assert_allclose(compiled[name], plain[name], rtol=1e-4, atol=1e-5)
    assert not np.array_equal(compiled["gap"], plain["gap"], equal_nan=True)
    begun(job, whole)
    assert job.run(config)["images_resumed"] > 0
    assert files(job.store) == files(whole.store)


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_network_that_cannot_be_compiled_names_the_key(job, config, monkeypatch):
    config["extract"]["compile"] = True
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    command = [sys.executable, "-c", PROCESS, *map(str, job), json.dumps(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "LabelsimError: extract.compile" in done.stderr


# Extracts on a GPU that is pretended: the job takes it and computes on the CPU.
ON_A_GPU = """
import contextlib, json, sys, types
from pathlib import Path
import torch
from labelsim.stages import extract as stage

take = stage.exclusive_device
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_properties = lambda number: types.SimpleNamespace(uuid=sys.argv[7])
torch.cuda.get_device_name = lambda *device: "a GPU"
torch.cuda.set_device = lambda number: None

@contextlib.contextmanager
def on_the_cpu(name):
    with take(name) as device:
        assert device == torch.device("cuda", 0)
        yield torch.device("cpu")

stage.exclusive_device = on_the_cpu
stage.extract(*map(Path, sys.argv[1:6]), json.loads(sys.argv[6]), "code", threads=1)
"""


def test_of_two_jobs_on_a_gpu_one_computes_after_the_other(job, config, tmp_path):
    config["extract"]["device"] = "cuda"
    jobs = [moved(job, tmp_path / name) for name in ("one", "other")]
    commands = [
        [sys.executable, "-c", ON_A_GPU, *map(str, each), json.dumps(config), str(os.getpid())] for each in jobs
    ]
    for process in [subprocess.Popen(command) for command in commands]:
        assert process.wait() == 0
    assert files(jobs[0].store) == files(jobs[1].store)
    spans = []
    for each in jobs:
        lines = each.store.with_suffix(".journal").read_text(encoding="utf-8").splitlines()[1:]
        times = [json.loads(line.partition(" ")[2])["note"]["at"] for line in lines]
        spans.append((min(times), max(times)))
    first, second = sorted(spans)
    assert first[1] < second[0]


@pytest.fixture
def hungry(job, config, prepared, tmp_path):
    """Make a function that prepares a job with a network for which memory runs out under some condition."""

    def make(condition: str, statement: str):
        code = (tmp_path / "network.py").read_text(encoding="utf-8")
        code = code.replace("    return network\n", "    return nn.Sequential(Hungry(), network)\n") + (
            "\n\nclass Hungry(nn.Module):\n"
            "    def forward(self, x):\n"
            f"        if {condition}:\n"
            f"            {statement}\n"
            "        return x\n"
        )
        (tmp_path / "network.py").write_text(f"import numpy as np\n{code}", encoding="utf-8")
        return prepared("hungry", config)

    return make


MEMORY_RUNS_OUT = [
    "raise torch.OutOfMemoryError('CUDA out of memory.')",  # as torch raises it on a GPU
    "torch.empty(1 << 60, dtype=torch.uint8)",
    "np.empty(1 << 60, np.uint8)",
]


@pytest.mark.parametrize("statement", MEMORY_RUNS_OUT)
def test_where_memory_runs_out_batches_are_halved_in_a_resumed_job_as_well(hungry, config, tmp_path, statement):
    config["extract"]["batch_size"] = 4
    job = hungry("len(x) > 2 and Path('scarce').exists()", statement)
    whole = moved(job, tmp_path / "whole")
    (tmp_path / "scarce").touch()
    assert whole.run(config)["images_rejected"] == 3
    journal = begun(job, whole)
    (tmp_path / "scarce").unlink()  # there would be enough for whole batches now, with other last bits
    assert job.run(config)["images_resumed"] > 0
    assert files(job.store) == files(whole.store)
    lines = journal.read_text(encoding="utf-8").splitlines()[1:]
    halved = {json.loads(line.partition(" ")[2])["note"].get("halved") for line in lines} - {None}
    assert halved == {2}


@pytest.mark.parametrize(("statement", "key"), [*zip(MEMORY_RUNS_OUT, ["GPU", "mem_mb", "mem_mb"], strict=True)])
def test_too_little_memory_for_one_image_names_what_to_give(hungry, config, tmp_path, statement, key):
    job = hungry("torch.is_inference_mode_enabled() and Path('scarce').exists()", statement)  # not in the dry run
    (tmp_path / "scarce").touch()
    with pytest.raises(LabelsimError, match=key):
        job.run(config)
    (tmp_path / "scarce").unlink()
    assert job.run(config)["images_rejected"] == 3


def test_an_image_that_was_out_of_reach_is_tried_again(job, config, tmp_path):
    whole = moved(job, tmp_path / "whole")
    whole.run(config)
    path = next((tmp_path / "images" / "owl").iterdir())
    hidden = path.rename(tmp_path / "away.png")
    assert job.run(config)["images_rejected"] == len(toy.REJECTS) + 1
    hidden.rename(path)
    stats = job.run(config)
    assert stats["images_rejected"] == len(toy.REJECTS)
    assert 0 < stats["images_resumed"] < stats["images"]
    assert files(job.store) == files(whole.store)


def test_a_mended_image_of_the_same_size_is_tried_again(job, config, tmp_path):
    whole = moved(job, tmp_path / "whole")
    whole.run(config)
    first, second = list((tmp_path / "images" / "owl").iterdir())[:2]
    sound = first.read_bytes(), second.read_bytes()
    for path, data in zip((first, second), sound, strict=True):
        path.write_bytes(bytes(len(data)))
    assert job.run(config)["images_rejected"] == len(toy.REJECTS) + 2
    # what is as bad as it was is not computed again
    assert job.run(config)["images_resumed"] == 170
    for path, data, rejected in zip((first, second), sound, (1, 0), strict=True):
        path.write_bytes(data)
        stats = job.run(config)
        assert stats["images_rejected"] == len(toy.REJECTS) + rejected
        assert stats["images_resumed"] == 170 - 4  # one chunk
    assert files(job.store) == files(whole.store)
    assert job.rejects.read_bytes() == whole.rejects.read_bytes()


def test_images_are_read_in_the_format_in_which_they_were_listed(tmp_path, monkeypatch, config, prepared):
    toy.write_network(tmp_path / "network.py")
    toy.write_images(tmp_path / "folders", rejects=False)
    (tmp_path / "images").mkdir()
    with tarfile.open(tmp_path / "images/shard.tar", "w") as archive:
        for number, path in enumerate(sorted((tmp_path / "folders").rglob("*.png"))):
            archive.add(path, f"{number:04d}.png")
            label = tarfile.TarInfo(f"{number:04d}.cls")
            label.size = len(path.parent.name.encode())
            archive.addfile(label, io.BytesIO(path.parent.name.encode()))
    monkeypatch.chdir(tmp_path)
    job = prepared("job", config)
    # Now `auto` would find class folders there.
    shutil.copytree(tmp_path / "folders/owl", tmp_path / "images/owl")
    figures = job.run(config)
    assert figures["images"] > 0
    assert figures["images_rejected"] == 0


def test_a_network_that_was_edited_since_it_was_described_is_refused(job, config, tmp_path):
    network(config["model"], config["probe"], sources(config), job.network)
    path = tmp_path / "network.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\nEDITED = True\n", encoding="utf-8")
    with pytest.raises(LabelsimError, match=r"^model\.name"):
        extract(*job, config, "code", sources=json.loads(sources(config))["files"])
    assert not job.store.exists()
    path.write_text(text + "\n# a comment changes nothing\n", encoding="utf-8")
    extract(*job, config, "code", sources=json.loads(sources(config))["files"])
    assert job.stats.exists()


def sources(config) -> str:
    return identity("network", config)
