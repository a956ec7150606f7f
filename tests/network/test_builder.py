import hashlib
import pickle
import re
import socket
import sys
import urllib.request
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from labelsim.dataset.imagenet import imagenet_names
from labelsim.errors import LabelsimError
from labelsim.network import torchvision_models
from labelsim.network.builder import build, check_name, load_callable

SMALL = "shufflenet_v2_x0_5"

NETWORK_FILE = """
import torch
from torch import nn
from torchvision import transforms

class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, dtype=torch.float64)
        self.fc = nn.Linear(4, 2)

def network():
    return Doubled().train()

def transform():
    return transforms.Compose([transforms.Resize(8), transforms.ToTensor()])

def arrays():
    return lambda image: __import__("numpy").zeros((3, 8, 8))

def integers():
    return transforms.PILToTensor()

def tensors_only():
    return transforms.Normalize([0.5] * 3, [0.5] * 3)

def needs(argument):
    return argument

def text():
    return "no network"

drawn = torch.randn(3)

def drawing():
    module = Doubled()
    module.drawn = nn.Parameter(drawn)
    return module

def scripted():
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3)))

def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3))

def meta():
    return nn.Conv2d(3, 4, 3, device="meta")

constant = 3
"""


@pytest.fixture
def net_file(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK_FILE)
    return tmp_path


@pytest.fixture(scope="module")
def small():
    """A small torchvision network with random weights, its batch norms' buffers too."""
    torch.manual_seed(5)
    module = torchvision.models.get_model(SMALL)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.num_batches_tracked.fill_(7)
    return module.eval()


def assert_same_weights(module, state):
    assert module.state_dict().keys() == state.keys()
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)


class TestName:
    @pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
    def test_every_classification_network_of_torchvision(self, name):
        check_name(name)

    @pytest.mark.parametrize(
        ("name", "similar"),
        [
            ("resnet35", "resnet34"),
            ("ResNet34", "resnet34"),
            ("xyzzy", "alexnet"),
            ("deeplabv3_resnet50", "resnet50"),
            ("quantized_resnet18", "resnet18"),
        ],
    )
    def test_unknown(self, name, similar):
        with pytest.raises(LabelsimError, match=rf"^model\.name '{name}' .*\b{similar}\b"):
            build(name, None)


class TestRandomWeights:
    def test_ready_for_inference_and_the_same_every_time(self):
        before = torch.random.get_rng_state()
        network = build(SMALL, None)
        assert torch.equal(torch.random.get_rng_state(), before)
        parameters = list(network.module.parameters())
        assert not any(part.training for part in network.module.modules())
        assert not any(parameter.requires_grad for parameter in parameters)
        assert {parameter.dtype for parameter in parameters} == {torch.float32}
        assert (network.labels, network.top1) == (None, None)
        assert any("random weights" in note for note in network.notes)
        assert any("ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1" in note for note in network.notes)
        assert build(SMALL, None).weights_digest == network.weights_digest

    @pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
    def test_auxiliary_classifiers_without_a_warning(self, name):  # warnings are errors
        network = build(name, None)
        with torch.inference_mode():
            assert network.module(torch.zeros(1, 3, 96, 96)).shape == (1, 1000)


class TestEntry:
    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        """Torch's download cache, empty, behind a network that refuses every connection."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        return folder

    @pytest.mark.parametrize("entry", ["IMAGENET1K_V1", "DEFAULT", "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"])
    def test_metadata_and_transform(self, small, cache, entry):
        # What torch finds in its cache it does not download.
        torch.save(small.state_dict(), cache / "shufflenetv2_x0.5-f707e7126e.pth")
        network = build(SMALL, entry)
        assert_same_weights(network.module, small.state_dict())
        assert network.labels[:2] == ["n01440764", "n01443537"]
        assert len(network.labels) == 1000
        assert network.top1 == 60.552  # torchvision's table of classification weights
        assert network.notes == []
        image = PIL.Image.fromarray(np.full((300, 400, 3), 255, np.uint8))
        white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        expected = white[:, None, None].expand(3, 224, 224)
        torch.testing.assert_close(network.transform(image), expected)  # ImageNet's means and deviations

    def test_weights_without_a_classification_layer(self):
        with pytest.raises(LabelsimError, match=r"^model\.weights 'IMAGENET1K_FEATURES'.*IMAGENET1K_V1"):
            build("vgg16", "IMAGENET1K_FEATURES")

    def test_transform_of_ones_own(self, small, cache, net_file):
        torch.save(small.state_dict(), cache / "shufflenetv2_x0.5-f707e7126e.pth")
        network = build(SMALL, "DEFAULT", "net.py:transform", net_file)
        assert network.transform(PIL.Image.new("RGB", (16, 16))).shape == (3, 8, 8)
        assert network.notes == []

    def test_failed_download(self, cache):
        url = "https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth"
        with pytest.raises(LabelsimError, match="URLError") as caught:
            build(SMALL, "DEFAULT")
        assert url in str(caught.value)
        assert str(cache / "shufflenetv2_x0.5-f707e7126e.pth") in str(caught.value)

    def test_neither_entry_nor_file(self, tmp_path):
        with pytest.raises(LabelsimError, match=r"^model\.weights 'IMAGENET1K_V9'.*IMAGENET1K_V1, DEFAULT") as caught:
            build(SMALL, "IMAGENET1K_V9", base=tmp_path)
        assert str(tmp_path / "IMAGENET1K_V9") in str(caught.value)

    def test_folder(self, tmp_path):
        with pytest.raises(LabelsimError, match=rf"^model\.weights '{tmp_path}'"):
            build(SMALL, str(tmp_path))

    def test_entry_for_a_callable(self, net_file):
        with pytest.raises(LabelsimError, match=r"^model\.weights 'DEFAULT'.*net\.py:network"):
            build("net.py:network", "DEFAULT", "net.py:transform", net_file)


class TestEveryEntryOfTorchvision:
    @pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
    def test_labels_and_accuracy(self, name):
        for entry in torchvision_models.entries(name):
            weights = torchvision.models.get_model_weights(name)[entry]
            if weights == torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES:
                continue
            for spelling in (entry, str(weights)):  # ResNet50_Weights.IMAGENET1K_V2, for DEFAULT too
                assert torchvision_models.find_entry(name, spelling) == weights.name
            assert torchvision_models.labels(name, entry) == sorted(imagenet_names())
            assert 50 < torchvision_models.top1(name, entry) < 90  # AlexNet 56.5, ViT-H/14 with SWAG 88.6
        assert torchvision_models.find_entry(name, "IMAGENET1K_V9") is None


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


class TestFile:
    @pytest.mark.parametrize(
        "checkpoint",
        [
            lambda state: state,
            lambda state: {"state_dict": state, "epoch": 3},
            lambda state: {"model": state, "optimizer": {"lr": 0.1}},
            lambda state: prefixed(state, "module."),
            lambda state: prefixed(state, "_orig_mod."),
            lambda state: {"state_dict": prefixed(state, "module._orig_mod.")},
        ],
        ids=["state_dict", "key state_dict", "key model", "module.", "_orig_mod.", "all"],
    )
    def test_forms_of_a_checkpoint(self, small, tmp_path, checkpoint):
        torch.save(checkpoint(small.state_dict()), tmp_path / "small.pth")
        network = build(SMALL, "small.pth", base=tmp_path)
        assert_same_weights(network.module, small.state_dict())
        assert (network.labels, network.top1) == (None, None)
        (note,) = network.notes
        assert "assumed the transform of ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1" in note

    def test_safetensors(self, small, tmp_path):
        safetensors.torch.save_file(prefixed(small.state_dict(), "module."), tmp_path / "small.safetensors")
        network = build(SMALL, str(tmp_path / "small.safetensors"))
        assert_same_weights(network.module, small.state_dict())

    def test_half_precision_becomes_float32(self, small, tmp_path):
        state = {name: t.half() if t.is_floating_point() else t for name, t in small.state_dict().items()}
        torch.save(state, tmp_path / "half.bin")
        network = build(SMALL, "half.bin", base=tmp_path)
        assert {parameter.dtype for parameter in network.module.parameters()} == {torch.float32}
        expected = small.conv1[0].weight.half().float()
        torch.testing.assert_close(network.module.conv1[0].weight, expected, rtol=0, atol=0)

    @pytest.mark.parametrize("name", [SMALL, "squeezenet1_1", "googlenet"])
    def test_classes_as_in_the_file(self, tmp_path, name):
        options = {"init_weights": False} if name == "googlenet" else {}
        state = torchvision.models.get_model(name, num_classes=10, **options).state_dict()
        torch.save(state, tmp_path / "ten.pth")
        network = build(name, "ten.pth", base=tmp_path)
        assert_same_weights(network.module, state)
        assert any("num_classes=10" in note for note in network.notes)

    @pytest.mark.parametrize("auxiliary", [False, True])
    def test_auxiliary_classifiers_as_in_the_file(self, tmp_path, auxiliary):
        module = torchvision.models.googlenet(init_weights=False, aux_logits=auxiliary)
        torch.save({"state_dict": prefixed(module.state_dict(), "module.")}, tmp_path / "google.pth")
        network = build("googlenet", "google.pth", base=tmp_path)
        assert_same_weights(network.module, module.state_dict())
        assert network.module.transform_input
        assert any("transform_input=True" in note for note in network.notes)

    @pytest.mark.parametrize(
        "name", ["DEFAULT", "ShuffleNet_V2_X0_5_Weights.DEFAULT", "ShuffleNet_V2_X0_5_Weights.pth"]
    )
    def test_a_file_that_is_there_is_no_entry(self, small, tmp_path, name):
        torch.save(small.state_dict(), tmp_path / name)
        network = build(SMALL, name, base=tmp_path)
        assert_same_weights(network.module, small.state_dict())
        assert (network.labels, network.top1) == (None, None)

    def test_names_and_versions_of_older_files(self, tmp_path):
        # torchvision's DenseNet files say norm.1, and have no num_batches_tracked.
        state = torchvision.models.densenet121().state_dict()
        old = {
            name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
            for name, tensor in state.items()
            if not name.endswith("num_batches_tracked")
        }
        torch.save(old, tmp_path / "dense.pth")
        assert_same_weights(build("densenet121", "dense.pth", base=tmp_path).module, state)
        # MNASNet demands a version, which safetensors does not keep.
        state = torchvision.models.mnasnet0_5().state_dict()
        safetensors.torch.save_file(state, tmp_path / "mnas.safetensors")
        assert_same_weights(build("mnasnet0_5", "mnas.safetensors", base=tmp_path).module, state)

    def test_that_does_not_fit(self, small, tmp_path):
        state = small.state_dict()
        del state["fc.bias"]
        state |= {f"extra{number}": torch.zeros(1) for number in range(7)}
        state["conv1.0.weight"] = torch.zeros(24, 1, 3, 3)
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(LabelsimError, match=r"other\.pth .*ShuffleNetV2") as caught:
            build(SMALL, "other.pth", base=tmp_path)
        for fault in (
            r"conv1\.0\.weight \(24, 1, 3, 3\).*\(24, 3, 3, 3\)",
            r"1 missing: fc\.bias\b",
            "7 unexpected: extra0",
        ):
            assert re.search(fault, str(caught.value))

    @pytest.mark.parametrize(
        ("lost", "added", "message"),
        [("fc.bias", [], "1 missing: fc.bias"), (None, ["fc.scale"], "1 unexpected: fc.scale")],
    )
    def test_one_key_too_few_or_too_many(self, small, tmp_path, lost, added, message):
        state = {name: tensor for name, tensor in small.state_dict().items() if name != lost}
        torch.save(state | {name: torch.zeros(1) for name in added}, tmp_path / "near.pth")
        with pytest.raises(LabelsimError, match=rf"near\.pth .*: {message}\.$"):
            build(SMALL, "near.pth", base=tmp_path)

    def test_of_another_width(self, tmp_path):
        torch.save(torchvision.models.shufflenet_v2_x1_0().state_dict(), tmp_path / "wide.pth")
        with pytest.raises(LabelsimError, match=r"wide\.pth .*of another shape"):
            build(SMALL, "wide.pth", base=tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello world, no weights here " * 40, b"\x80"])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_damaged(self, tmp_path, content, suffix):
        (tmp_path / f"bad{suffix}").write_bytes(content)
        with pytest.raises(LabelsimError, match=rf"^model\.weights .*bad{suffix} "):
            build(SMALL, f"bad{suffix}", base=tmp_path)

    @pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.float8_e4m3fn])
    @pytest.mark.filterwarnings("ignore:Casting complex values")
    def test_other_numbers_than_real_ones(self, small, tmp_path, dtype):
        state = small.state_dict()
        torch.save(state | {"fc.weight": state["fc.weight"].to(dtype)}, tmp_path / "cast.pth")
        with pytest.raises(LabelsimError, match=r"cast\.pth .*fc\.weight"):
            build(SMALL, "cast.pth", base=tmp_path)

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_pointer_of_git_lfs(self, tmp_path, suffix):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 87319819\n"
        (tmp_path / f"net{suffix}").write_text(pointer)
        with pytest.raises(LabelsimError, match=rf"net{suffix} .*git lfs pull"):
            build(SMALL, f"net{suffix}", base=tmp_path)

    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    @pytest.mark.parametrize("save", [lambda file: torch.jit.script(nn.ReLU()).save(file), lambda file: file.touch()])
    def test_no_advice_to_run_code(self, tmp_path, save):
        save(tmp_path / "other.pth")
        with pytest.raises(LabelsimError, match=r"other\.pth") as caught:
            build(SMALL, "other.pth", base=tmp_path)
        assert "weights_only" not in str(caught.value)

    def test_truncated(self, small, tmp_path):
        torch.save(small.state_dict(), tmp_path / "cut.pth")
        whole = (tmp_path / "cut.pth").read_bytes()
        (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(LabelsimError, match=r"^model\.weights .*cut\.pth"):
            build(SMALL, "cut.pth", base=tmp_path)

    @pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"a": 1}, {"state_dict": {"a": "text"}}])
    def test_without_a_state_dict(self, tmp_path, content):
        torch.save(content, tmp_path / "list.pt")
        with pytest.raises(LabelsimError, match=r"^model\.weights .*list\.pt.*state_dict"):
            build(SMALL, "list.pt", base=tmp_path)

    @pytest.mark.parametrize("save", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content, 2))])
    def test_code_is_never_run(self, tmp_path, save):
        canary = tmp_path / "canary"

        class Evil:
            def __reduce__(self):
                return Path.touch, (canary,)

        save({"conv1.0.weight": Evil()}, tmp_path / "evil.pth")
        with pytest.raises(LabelsimError, match=r"^model\.weights .*evil\.pth .*\(\S+\)"):
            build(SMALL, "evil.pth", base=tmp_path)
        assert not canary.exists()
        pickle.loads(pickle.dumps(Evil()))
        assert canary.exists()  # so the file's code would have shown


class TestCallable:
    def test_file(self, net_file):
        network = build("net.py:network", None, "net.py:transform", net_file)
        assert not network.module.training
        assert network.module.conv.weight.dtype == torch.float32
        assert network.transform(PIL.Image.new("RGB", (9, 9))).shape == (3, 8, 8)
        assert (network.labels, network.top1, network.notes) == (None, None, [])
        assert build("net.py:network", None, "net.py:transform", net_file).weights_digest == network.weights_digest

    def test_module(self, net_file, monkeypatch):
        (net_file / "net.py").rename(net_file / "labelsim_test_net.py")
        monkeypatch.syspath_prepend(net_file)
        network = build("labelsim_test_net:network", None, "labelsim_test_net:transform")
        assert type(network.module).__name__ == "Doubled"

    def test_weights_that_are_drawn_when_the_file_is_imported(self, net_file, monkeypatch):
        def digest(seed):
            for name in [name for name in sys.modules if name.startswith("_labelsim_net_")]:
                monkeypatch.delitem(sys.modules, name)  # as in another process
            torch.manual_seed(seed)
            return build("net.py:drawing", None, "net.py:transform", net_file).weights_digest

        assert digest(1) == digest(2)

    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    @pytest.mark.parametrize(("name", "kind"), [("scripted", "TorchScript"), ("lazy", "lazy"), ("meta", "meta")])
    def test_modules_that_cannot_be_probed(self, net_file, name, kind):
        with pytest.raises(LabelsimError, match=rf"^model\.name 'net\.py:{name}' .*{kind}"):
            build(f"net.py:{name}", None, "net.py:transform", net_file)

    def test_weights_from_a_file(self, net_file):
        state = load_callable("net.py:network", net_file)().state_dict()
        torch.save({"state_dict": prefixed(state, "module.")}, net_file / "net.pth")
        network = build("net.py:network", "net.pth", "net.py:transform", net_file)
        assert torch.equal(network.module.fc.weight, state["fc.weight"])
        state["fc.weight"] = torch.zeros(5, 4)
        torch.save(state, net_file / "five.pth")
        with pytest.raises(LabelsimError, match=r"five\.pth .*fc\.weight \(5, 4\).*\(2, 4\)"):
            build("net.py:network", "five.pth", "net.py:transform", net_file)

    def test_a_changed_file_is_read_again(self, net_file):
        first = load_callable("net.py:text", net_file)
        assert load_callable("net.py:text", net_file) is first
        (net_file / "net.py").write_text(NETWORK_FILE.replace("no network", "other"))
        assert (first(), load_callable("net.py:text", net_file)()) == ("no network", "other")

    def test_objects_of_a_file_can_be_pickled(self, net_file):
        function = load_callable("net.py:text", net_file)
        assert pickle.loads(pickle.dumps(function)) is function

    def test_wrapper_names_that_are_the_networks_own(self, tmp_path):
        (tmp_path / "own.py").write_text(
            "from torch import nn\n"
            "def network():\n"
            "    return nn.ModuleDict({'module': nn.Linear(2, 3)})\n"
            "def transform():\n"
            "    from torchvision.transforms import ToTensor\n"
            "    return ToTensor()\n"
        )
        state = {"module.weight": torch.ones(3, 2), "module.bias": torch.ones(3)}
        for prefix in ("", "module."):
            torch.save(prefixed(state, prefix), tmp_path / "own.pth")
            network = build("own.py:network", "own.pth", "own.py:transform", tmp_path)
            assert_same_weights(network.module, state)

    @pytest.mark.parametrize(
        ("spec", "named"),
        [
            ("gone.py:network", "FileNotFoundError: .*gone.py"),
            ("labelsim_gone.net:network", "ModuleNotFoundError: .*'labelsim_gone'"),
            ("torchvision.gone:network", "ModuleNotFoundError: .*'torchvision.gone'"),
            ("net.py:netwrk", "'netwrk' .*net.py.* network"),
            ("net.py:constant", "int"),
            ("net.py:", "file.py:callable"),
            ("broken.py:network", "SyntaxError"),
            ("needy.py:network", "ModuleNotFoundError: .*'labelsim_x'"),
        ],
    )
    def test_that_cannot_be_loaded(self, net_file, spec, named):
        (net_file / "broken.py").write_text("def network(:")
        (net_file / "needy.py").write_text("import labelsim_x")
        with pytest.raises(LabelsimError, match=f"^'{spec}'.*{named}"):
            load_callable(spec, net_file)

    @pytest.mark.parametrize(
        ("name", "transform", "named"),
        [
            ("net.py:network", "auto", r"model\.transform .*'net\.py:network'"),
            ("net.py:text", "net.py:transform", r"model\.name 'net\.py:text' .*\bstr\b"),
            ("net.py:needs", "net.py:transform", r"'net\.py:needs' .*TypeError"),
            ("net.py:network", "net.py:text", r"model\.transform 'net\.py:text' .*\bstr\b"),
            ("net.py:network", "net.py:arrays", r"model\.transform 'net\.py:arrays' .*ndarray"),
            ("net.py:network", "net.py:integers", r"model\.transform .* torch\.uint8 \(3, 256, 320\)"),
            ("net.py:network", "net.py:tensors_only", r"model\.transform 'net\.py:tensors_only' .*TypeError"),
        ],
    )
    def test_that_returns_something_else(self, net_file, name, transform, named):
        with pytest.raises(LabelsimError, match=named):
            build(name, None, transform, net_file)


class TestDigest:
    def digest(self, tmp_path, state):
        torch.save(state, tmp_path / "weights.pth")
        return build(SMALL, "weights.pth", base=tmp_path).weights_digest

    def test_is_that_of_the_weights(self, small, tmp_path):
        state = small.state_dict()
        digest = self.digest(tmp_path, state)
        assert self.digest(tmp_path, prefixed(dict(reversed(state.items())), "module.")) == digest
        changed = {name: tensor.clone() for name, tensor in state.items()}
        changed["fc.weight"][3, 5] = torch.nextafter(changed["fc.weight"][3, 5], torch.tensor(9.0))
        assert self.digest(tmp_path, changed) != digest

    def test_is_written_down(self, tmp_path):
        (tmp_path / "one.py").write_text(
            "import torch\n"
            "def network():\n"
            "    module = torch.nn.Linear(2, 1)\n"
            "    torch.nn.init.constant_(module.weight, 1.5)\n"
            "    torch.nn.init.constant_(module.bias, -1)\n"
            "    return module\n"
            "def transform():\n"
            "    from torchvision.transforms import ToTensor\n"
            "    return ToTensor()\n"
        )
        bias, weight = np.array([-1], "<f4").tobytes(), np.array([1.5, 1.5], "<f4").tobytes()
        content = b"bias\ntorch.float32\n(1,)\n" + bias + b"weight\ntorch.float32\n(1, 2)\n" + weight
        expected = hashlib.blake2b(content, digest_size=16).hexdigest()
        assert build("one.py:network", None, "one.py:transform", tmp_path).weights_digest == expected
