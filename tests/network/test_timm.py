"""timm's networks, without a download: with random weights, those of files, and those of caches and folders."""

import json
import re
import subprocess
import sys

import huggingface_hub.constants
import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

import labelsim.network
from labelsim.config import check_files, load
from labelsim.dataset.imagenet import imagenet_names
from labelsim.errors import LabelsimError
from labelsim.jobs.provenance import identity
from labelsim.network.builder import build, check_name
from labelsim.network.probes import Probes

WNIDS = sorted(imagenet_names())
CONVOLUTIONAL = ["test_convnext", "test_efficientnet", "resnet10t"]


def network(name="test_convnext", **options):
    """A network of timm with random weights, other ones than `build` draws."""
    torch.manual_seed(5)
    return timm.create_model(name, **options).eval()


def assert_same_weights(found, module):
    state = module.state_dict()
    assert found.state_dict().keys() == state.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, state[name])


def save(module, folder, **config):
    """Save a network as timm does, with some values of its configuration changed: a name for it."""
    timm.models.save_for_hf(module, folder)
    path = folder / "config.json"
    contents = json.loads(path.read_text(encoding="utf-8"))
    contents["pretrained_cfg"] |= config
    path.write_text(json.dumps(contents), encoding="utf-8")
    return f"timm:local-dir:{folder}"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache of weights of timm's, empty, of a machine without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(cache, repository, module):
    """Put weights into the cache as if they had been downloaded."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    safetensors.torch.save_file(module.state_dict(), folder / "snapshots" / commit / "model.safetensors")


class TestName:
    @pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "test_vit", "vit_base_patch16_18x2_224"])
    def test_known(self, name):
        check_name(f"timm:{name}")

    @pytest.mark.parametrize(
        ("name", "similar"),
        [
            ("resnet35", "resnet34"),
            ("ResNet34", "resnet34"),
            ("tf_efficientnet_b0_ns", "tf_efficientnet_b0.ns_jft_in1k"),
            ("resnet18.a9_in1k", "a1_in1k, a2_in1k"),
            ("timm/resnet18.a1_in1k", "timm:NAME"),
            ("", "timm:NAME"),
        ],
    )
    def test_unknown(self, name, similar):
        with pytest.raises(LabelsimError, match=rf"^model\.name 'timm:{name}'.*\b{similar}\b"):
            check_name(f"timm:{name}")

    def test_timm_is_imported_for_its_own_networks_only(self):
        code = (
            "import sys; from labelsim.network.builder import build, check_name; check_name('resnet34');"
            "check_name('net.py:network'); assert 'timm' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_without_timm(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)  # as Python has it for what cannot be imported
        monkeypatch.delitem(sys.modules, "labelsim.network.timm_models", raising=False)
        monkeypatch.delattr(labelsim.network, "timm_models", raising=False)
        with pytest.raises(LabelsimError, match=r"^model\.name.*pip install timm"):
            build("timm:resnet18", None)
        check_name("resnet18")


class TestRandomWeights:
    @pytest.mark.parametrize("name", [*CONVOLUTIONAL, "test_vit"])
    def test_ready_for_inference_and_the_same_every_time(self, name):
        before = torch.random.get_rng_state()
        found = build(f"timm:{name}", None)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert not any(part.training for part in found.module.modules())
        assert not any(parameter.requires_grad for parameter in found.module.parameters())
        assert (found.labels, found.top1) == (None, None)
        tag = timm.models.get_pretrained_cfg(name).tag
        assert any(note.startswith(f"assumed the transform of timm's {name}.{tag}, as") for note in found.notes)
        assert any("random weights" in note for note in found.notes)
        assert build(f"timm:{name}", None).weights_digest == found.weights_digest

    def test_transform_is_timms_own_for_validation(self):
        image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
        module = network("resnet10t")
        expected = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)
        found = build("timm:resnet10t", None).transform(image)
        assert found.shape == (3, 176, 176)
        assert torch.equal(found, expected(image))


class TestFile:
    @pytest.mark.parametrize("name", [*CONVOLUTIONAL, "test_vit"])
    @pytest.mark.parametrize("classes", [1000, 7])
    def test_classes_as_in_the_file(self, tmp_path, name, classes):
        module = network(name, num_classes=classes)
        torch.save({"state_dict": module.state_dict()}, tmp_path / "own.pth")
        found = build(f"timm:{name}", "own.pth", base=tmp_path)
        assert_same_weights(found.module, module)
        assert found.labels is None
        assert [note for note in found.notes if "num_classes" in note] == (
            [f"built timm:{name} with num_classes=7, as {tmp_path / 'own.pth'} has them"] if classes == 7 else []
        )

    def test_safetensors_for_a_name_with_a_tag(self, tmp_path):
        module = network("resnet10t")
        safetensors.torch.save_file(module.state_dict(), tmp_path / "own.safetensors")
        assert_same_weights(build("timm:resnet10t.c3_in1k", "own.safetensors", base=tmp_path).module, module)

    def test_that_does_not_fit(self, tmp_path):
        torch.save(network("resnet10t").state_dict(), tmp_path / "other.pth")
        with pytest.raises(LabelsimError, match=r"other\.pth .*ConvNeXt.* missing: stem\.0\.weight"):
            build("timm:test_convnext", "other.pth", base=tmp_path)


class TestPublished:
    @pytest.mark.parametrize(
        ("name", "weights"),
        [("test_convnext", "DEFAULT"), ("test_convnext", "r160_in1k"), ("test_convnext.r160_in1k", "r160_in1k")],
    )
    def test_of_imagenet(self, cache, name, weights):
        module = network()
        put(cache, "timm/test_convnext.r160_in1k", module)
        found = build(f"timm:{name}", weights)
        assert_same_weights(found.module, module)
        assert found.labels == WNIDS
        assert (found.top1, found.notes) == (None, [])

    def test_of_the_hub(self, cache, tmp_path):
        module = network()
        put(cache, "someone/birds", module)
        save(module, tmp_path / "saved", tag=None)
        (snapshot,) = cache.glob("models--someone--birds/snapshots/*")
        (tmp_path / "saved" / "config.json").rename(snapshot / "config.json")
        found = build("timm:hf-hub:someone/birds", "DEFAULT")
        assert_same_weights(found.module, module)
        assert found.labels is None  # a thousand outputs need not be ImageNet's

    def test_that_cannot_be_downloaded(self, cache):
        with pytest.raises(LabelsimError, match=r"'timm:test_vit' .*\(\w+: ") as caught:
            build("timm:test_vit", "DEFAULT")
        for named in ("`hf download timm/test_vit.r160_in1k`", str(cache), "timm:local-dir:FOLDER"):
            assert named in str(caught.value)
        with pytest.raises(LabelsimError, match=r"`hf download someone/birds`"):
            build("timm:hf-hub:someone/birds", "DEFAULT")

    @pytest.mark.parametrize(
        ("name", "weights", "known"),
        [
            ("test_vit", "IMAGENET1K_V1", "DEFAULT, r160_in1k"),
            ("resnet18.a1_in1k", "a2_in1k", "DEFAULT, a1_in1k"),
            ("vit_base_patch16_18x2_224", "DEFAULT", "there are none"),
        ],
    )
    def test_that_there_are_none_of(self, name, weights, known):
        with pytest.raises(LabelsimError, match=rf"^model\.weights '{weights}' .*timm:{re.escape(name)} \({known}\)"):
            build(f"timm:{name}", weights)

    def test_that_have_no_classification_layer(self):
        with pytest.raises(LabelsimError, match=r"^model\.name 'timm:vit_small_patch14_dinov2\.lvd142m'"):
            build("timm:vit_small_patch14_dinov2.lvd142m", None)


class TestFolder:
    def test_as_timm_saves_it(self, tmp_path):
        module = network()
        found = build(save(module, tmp_path / "saved"), "DEFAULT")
        assert_same_weights(found.module, module)
        assert found.labels == WNIDS

    def test_labels_of_its_own(self, tmp_path):
        name = save(network(num_classes=2), tmp_path / "saved", label_names=["heron", "stork"])
        assert build(name, "DEFAULT").labels == ["heron", "stork"]

    def test_of_a_larger_imagenet(self, tmp_path):
        name = save(network(num_classes=11821), tmp_path / "saved", tag="sw_in12k")
        labels = build(name, "DEFAULT").labels
        assert len(labels) == 11821
        assert labels[0] == "n00005787"  # ImageNet-12k begins with "benthos", which ImageNet-1k lacks
        assert len(set(WNIDS) & set(labels)) > 900

    def test_that_is_not_there(self, tmp_path):
        with pytest.raises(LabelsimError, match=r"FileNotFoundError: .*config\.json"):
            build(f"timm:local-dir:{tmp_path}", "DEFAULT")


class TestProbes:
    @pytest.mark.parametrize(
        ("name", "head", "units"), [("test_convnext", "head.fc", 64), ("test_efficientnet", "classifier", 256)]
    )
    def test_convolutions_and_head(self, name, head, units):
        module = network(name)
        probes = Probes(module, torch.zeros(1, 3, 64, 64))
        count = sum(isinstance(part, nn.Conv2d) for part in module.modules())
        assert len(probes.layers) == count
        assert (probes.head, probes.hidden_units, probes.outputs) == (head, units, 1000)
        assert "ReLU" in probes.notes[0]

    def test_vision_transformer(self):
        probes = Probes(network("test_vit"), torch.zeros(1, 3, 160, 160))
        assert (probes.layers, probes.head, probes.hidden_units) == ([], "head", 64)
        assert "patch_embed.proj: " in probes.missing

    def test_batch_norms_that_go_on_to_their_activation(self):
        module = network("test_efficientnet")
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        for norm in norms:
            nn.init.normal_(norm.running_mean, std=0.1)
        images, taken = torch.rand(2, 3, 64, 64) * 4 - 2, []

        def take(norm, args):
            taken.append(nn.BatchNorm2d.forward(norm, args[0]).relu().mean(dim=(2, 3)))

        handles = [norm.register_forward_pre_hook(take) for norm in norms]
        with torch.inference_mode():
            module(images)
        for handle in handles:
            handle.remove()
        assert any(isinstance(norm.act, nn.SiLU) for norm in norms)
        probes = Probes(module, images[:1], at="batch_norm")
        assert len(probes.layers) == len(norms)
        # The very same operations on the same input.
        torch.testing.assert_close(probes(images).gap, torch.cat(taken, dim=1), rtol=0, atol=0)
        assert all(".se." in name for name, _ in probes.skipped)


def test_a_folder_counts_by_its_files(tmp_path, monkeypatch):
    name = save(network(), tmp_path / "saved")
    config = load({"run": "x", "dataset": {"source": str(tmp_path)}, "model": {"name": name}})
    check_files(config)
    assert config["model"]["weights"] == "DEFAULT"
    before = identity("network", config)
    assert identity("network", config) == before
    save(network(num_classes=3), tmp_path / "saved")
    assert identity("network", config) != before
    (tmp_path / "saved").rename(tmp_path / "other")
    with pytest.raises(LabelsimError, match=r"model\.name: .*saved"):
        check_files(config)
