import re

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from labelsim.errors import LabelsimError
from labelsim.network.probes import Layer, Probes

# Means of at most 64 x 64 terms of one sign: nothing cancels, so float32 sums in any order agree to 1e-6.
RTOL, ATOL = 1e-5, 1e-7

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid)
HEADS = {
    "resnet18": "fc",
    "resnet34": "fc",
    "vgg11_bn": "classifier.6",
    "mobilenet_v3_small": "classifier.3",
    "efficientnet_b0": "classifier.1",
    "shufflenet_v2_x0_5": "fc",
}


@pytest.fixture(scope="module", params=HEADS)
def classifier(request):
    """Name and network, its weights random, its batch norms not the identity."""
    generator = torch.Generator().manual_seed(0)
    options = {"init_weights": False} if request.param.startswith("vgg") else {}  # its own is slow
    module = torchvision.models.get_model(request.param, **options).eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, std=0.1, generator=generator)
    return request.param, module


@pytest.fixture(scope="module")
def batch():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 4 - 2


def plain_outputs(module, batch, kinds):
    """Names and raw outputs of modules of some kinds, in the order of their calls; cloned at once."""
    seen = []
    handles = [
        submodule.register_forward_hook(lambda _, args, out, name=name: seen.append((name, out.clone())))
        for name, submodule in module.named_modules()
        if isinstance(submodule, kinds)
    ]
    with torch.no_grad():
        module(batch)
    for handle in handles:
        handle.remove()
    return [name for name, _ in seen], [out.float().numpy().astype(np.float64) for _, out in seen]


def pool(arrays, rectify=True):
    return np.concatenate([(np.maximum(x, 0) if rectify else x).mean(axis=(2, 3)) for x in arrays], axis=1)


def probe(module, batch, **options):
    """Layers and features; the hooks are removed, since the networks are shared."""
    probes = Probes(module, batch[:1], **options)
    try:
        return probes, probes(batch)
    finally:
        probes.close()


class TestTorchvision:
    def test_convolution(self, classifier, batch):
        _, module = classifier
        names, outputs = plain_outputs(module, batch, nn.Conv2d)
        probes, features = probe(module, batch)
        assert [layer.name for layer in probes.layers] == names
        assert [layer.channels for layer in probes.layers] == [out.shape[1] for out in outputs]
        assert probes.skipped == []
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)

    def test_hidden_and_logits(self, classifier, batch):
        name, module = classifier
        hidden = []
        head = module.get_submodule(HEADS[name])
        handle = head.register_forward_pre_hook(lambda _, args: hidden.append(args[0].clone()))
        with torch.no_grad():
            logits = module(batch)
        handle.remove()
        probes, features = probe(module, batch)
        assert (probes.head, probes.hidden_units, probes.outputs) == (HEADS[name], hidden[0].shape[1], 1000)
        assert probes.input_shape == (3, 64, 64)
        # The very same operations on the same input.
        torch.testing.assert_close(features.hidden, hidden[0], rtol=0, atol=0)
        torch.testing.assert_close(features.logits, logits, rtol=0, atol=0)

    def test_batch_norm(self, classifier, batch):
        _, module = classifier
        # In these networks each batch norm directly follows a convolution, in the same order.
        _, outputs = plain_outputs(module, batch, nn.BatchNorm2d)
        names, _ = plain_outputs(module, batch, nn.Conv2d)
        probes, features = probe(module, batch, at="batch_norm")
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)
        without = [name for name, _ in probes.skipped]
        assert [layer.name for layer in probes.layers] == [name for name in names if name not in without]
        # Only the convolutions of squeeze-and-excitation have no batch norm.
        assert all(re.search(r"\.fc[12]$", name) for name in without)

    def test_activation(self, classifier, batch):
        _, module = classifier
        names, outputs = plain_outputs(module, batch, ACTIVATIONS)
        kept = [position for position, out in enumerate(outputs) if out.ndim == 4]
        probes, features = probe(module, batch, at="activation")
        assert [layer.name.split("#")[0] for layer in probes.layers] == [names[position] for position in kept]
        expected = pool([outputs[position] for position in kept], rectify=False)
        # SiLU and Hardswish take both signs: what cancels is at most some 1e-6 of values around 1.
        np.testing.assert_allclose(features.gap.numpy(), expected, RTOL, 1e-6)

    def test_resnet34_has_the_papers_size(self):
        probes = Probes(torchvision.models.resnet34(), torch.zeros(1, 3, 64, 64))
        assert len(probes.layers) == 36
        assert sum(layer.channels for layer in probes.layers) == 8512
        assert (probes.hidden_units, probes.outputs) == (512, 1000)

    def test_resnet18_activations_are_named_by_call(self):
        probes = Probes(torchvision.models.resnet18(), torch.zeros(1, 3, 64, 64), at="activation")
        names = [layer.name for layer in probes.layers]
        assert len(names) == 17
        assert names[:3] == ["relu", "layer1.0.relu#1", "layer1.0.relu#2"]

    def test_one_call_of_an_activation(self, batch):
        module = torchvision.models.resnet18().eval()
        _, outputs = plain_outputs(module, batch, nn.ReLU)
        probes, features = probe(module, batch, at="activation", layers=["layer1.0.relu#2"])
        assert probes.layers == [Layer("layer1.0.relu#2", 64)]
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs[2:3], rectify=False), RTOL, ATOL)
        both = Probes(module, batch[:1], at="activation", layers=["layer1.0.relu"])
        assert [layer.name for layer in both.layers] == ["layer1.0.relu#1", "layer1.0.relu#2"]


class TestLayers:
    def test_globs_keep_the_order_of_the_forward_pass(self):
        module = torchvision.models.resnet18()
        probes = Probes(module, torch.zeros(1, 3, 64, 64), layers=["layer2.*.conv?", "conv1"])
        assert [layer.name for layer in probes.layers] == [
            "conv1",
            "layer2.0.conv1",
            "layer2.0.conv2",
            "layer2.1.conv1",
            "layer2.1.conv2",
        ]

    @pytest.mark.parametrize(
        ("globs", "named"),
        [(["layer1.*", "Layer2.*"], r"'Layer2\.\*'"), (["layer1.0.conv3"], r"layer1\.0\.conv2"), ([], "")],
    )
    def test_globs_without_a_match(self, globs, named):
        with pytest.raises(LabelsimError, match=rf"^probe\.layers.*{named}"):
            Probes(torchvision.models.resnet18(), torch.zeros(1, 3, 64, 64), layers=globs)


class Tiny(nn.Module):
    """Three convolutions, which subclasses run as they like, and a head."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Conv2d(4, 4, 3)
        self.c = nn.Conv2d(4, 5, 1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 6)

    def maps(self, x):
        return self.c(self.b(self.a(x)))

    def forward(self, x):
        return self.head(self.maps(x).mean((2, 3)))


@pytest.fixture
def images():
    return torch.rand(4, 3, 9, 11, generator=torch.Generator().manual_seed(2)) * 2 - 1


class TestForwardPass:
    def test_in_place_change_after_the_convolution(self, images):
        class InPlace(Tiny):
            def maps(self, x):
                return self.c(self.b(self.a(x).neg_()).mul_(0))

        module = InPlace().eval()
        _, outputs = plain_outputs(module, images, nn.Conv2d)
        _, features = probe(module, images)
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)
        assert features.gap[:, 4:8].max() > 0  # b's output before it was made zero

    def test_hidden_before_an_in_place_change(self, images):
        class Changed(Tiny):
            def forward(self, x):
                hidden = self.maps(x).mean((2, 3))
                logits = self.head(hidden)
                hidden.zero_()
                return logits

        module = Changed()
        with torch.no_grad():
            hidden = module.maps(images).mean((2, 3))
        _, features = probe(module, images)
        torch.testing.assert_close(features.hidden, hidden, rtol=0, atol=0)

    def test_order_is_that_of_the_calls(self, images):
        class Reversed(Tiny):
            def __init__(self):
                super().__init__()
                self.first = nn.Conv2d(3, 4, 1)

            def maps(self, x):
                return self.c(self.a(self.b(self.first(x))[:, :3]))

        probes, features = probe(Reversed(), images)
        assert probes.layers == [Layer("first", 4), Layer("b", 4), Layer("a", 4), Layer("c", 5)]
        assert features.gap.shape == (4, 17)

    def test_convolution_called_twice(self, images):
        class Twice(Tiny):
            def maps(self, x):
                return self.c(self.b(self.b(self.a(x))))

        with pytest.raises(LabelsimError, match=r"^probe\.layers: .*'b'"):
            Probes(Twice(), images[:1], layers=["[bc]"])
        probes = Probes(Twice(), images[:1], layers=["[ac]"])
        assert [layer.name for layer in probes.layers] == ["a", "c"]
        probes = Probes(Twice(), images[:1])  # which asks for no layer in particular
        assert [layer.name for layer in probes.layers] == ["a", "c"]
        assert [name for name, _ in probes.skipped] == ["b"]

    def test_unused_convolution(self, images):
        class Unused(Tiny):
            def maps(self, x):
                return self.c(self.a(x))

        probes, features = probe(Unused(), images)
        assert [layer.name for layer in probes.layers] == ["a", "c"]
        assert [name for name, _ in probes.skipped] == ["b"]
        assert features.gap.shape == (4, 9)
        with pytest.raises(LabelsimError, match=r"probe\.layers .*\(b: "):
            Probes(Unused(), images[:1], layers=["b"])

    def test_convolution_without_one_map_an_image(self, images):
        class Patches(Tiny):
            def maps(self, x):
                maps = self.a(x)
                return self.c(self.b(torch.cat([maps, maps]))[: len(x)])

        probes, _ = probe(Patches(), images)
        assert probes.skipped[0][0] == "b"
        assert "(2, 4, 5, 7)" in probes.skipped[0][1]

    def test_layers_that_depend_on_the_image(self, images):
        class Moody(Tiny):
            def maps(self, x):
                return self.c(self.b(self.a(x)) if x.sum() > 0 else self.a(x))

        probes = Probes(Moody(), torch.ones(1, 3, 9, 9))
        assert probes(torch.ones(2, 3, 9, 9)).gap.shape == (2, 13)
        with pytest.raises(LabelsimError, match="did not run b as often"):
            probes(-torch.ones(2, 3, 9, 9))
        assert probes(torch.ones(2, 3, 9, 9)).gap.shape == (2, 13)  # nothing is left of the failed call

    def test_convolutions_that_are_no_modules_are_listed(self, images):
        class Dynamic(nn.Module):
            """A convolution whose weights depend on the image, as CondConv2d."""

            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.randn(4, 4, 1, 1))

            def forward(self, x):
                return nn.functional.conv2d(x, self.weight * x.mean())

        class Functional(Tiny):
            def __init__(self):
                super().__init__()
                self.b = Dynamic()
                self.up = nn.ConvTranspose2d(4, 4, 2)

            def maps(self, x):
                maps = self.up(self.b(nn.functional.conv2d(self.a(x), torch.ones(4, 1, 1, 1), groups=4)))
                return self.c(nn.functional.conv1d(maps.flatten(2), torch.ones(4, 4, 1)).view_as(maps))

        probes, _ = probe(Functional(), images)
        assert [layer.name for layer in probes.layers] == ["a", "c"]
        assert [name for name, _ in probes.skipped] == ["Functional", "b", "up"]
        kinds = ["Functional", "Dynamic", "ConvTranspose2d"]
        assert all(kind in reason for kind, (_, reason) in zip(kinds, probes.skipped, strict=True))
        assert Probes(Functional(), images[:1], layers=["[ac]"]).skipped == []

    @pytest.mark.parametrize("at", ["convolution", "activation"])
    def test_what_does_not_depend_on_the_image_is_skipped(self, images, at):
        class Positions(Tiny):
            """Adds a grid of positions that goes through a convolution of its own, as xcit does."""

            def __init__(self):
                super().__init__()
                self.relu = nn.ReLU()
                self.grid, self.gelu = nn.Conv2d(2, 4, 1), nn.GELU()

            def maps(self, x):
                maps = self.relu(self.a(x))
                grid = torch.linspace(0, 1, 2 * maps[0, 0].numel()).view(1, 2, *maps.shape[2:])
                return self.c(self.b(maps + self.gelu(self.grid(grid))))

        probes, features = probe(Positions(), images, at=at)
        assert [name for name, _ in probes.skipped] == [{"convolution": "grid", "activation": "gelu"}[at]]
        assert len(features.gap) == len(images)

    def test_maps_of_parts_of_the_image(self, images):
        class Windows(Tiny):
            def maps(self, x):
                return self.c(self.b(self.a(x).flatten(0, 1)[None].unflatten(1, (-1, 4))[:, 0]))

        probes = Probes(Windows(), images[:1])
        with pytest.raises(LabelsimError, match="'b' gives 1 maps for 4 images"):
            probes(images)

    def test_subclass_of_conv2d_and_inputs_by_name(self, images):
        class Named(Tiny):
            def __init__(self):
                super().__init__()
                self.b = type("Conv", (nn.Conv2d,), {})(4, 4, 3)

            def forward(self, x):
                return self.head(input=self.norm(input=self.b(self.a(x))).mean((2, 3)).repeat(1, 2)[:, :5])

        probes, features = probe(Named(), images, at="batch_norm")
        assert probes.layers == [Layer("b", 4)]
        assert features.hidden.shape == (4, 5)

    def test_close_removes_every_hook(self, images):
        module = Tiny()
        probes = Probes(module, images[:1])
        probes.close()
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
        with pytest.raises(LabelsimError, match="must not be closed"):
            probes(images)

    def test_a_failed_dry_run_leaves_no_hook(self):
        module = Tiny()
        with pytest.raises(LabelsimError, match=r"input of shape \(1, 5, 9, 9\) \(RuntimeError: .*channels"):
            Probes(module, torch.zeros(1, 5, 9, 9))
        assert not any(part._forward_hooks for part in module.modules())

    def test_inference_mode_around_everything(self, images):
        module = Tiny()
        expected = probe(module, images)[1]
        with torch.inference_mode():
            features = probe(module, images.clone(), at="convolution")[1]
        torch.testing.assert_close(features, expected, rtol=0, atol=0)


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_float32_sums_whatever_the_network(self, dtype):
        module = Tiny().eval().to(dtype)
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)).to(dtype)
        _, outputs = plain_outputs(module, images, nn.Conv2d)
        _, features = probe(module, images)
        assert {part.dtype for part in features} == {torch.float32}
        # A sum in half precision would be off by more than 1e-3.
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)

    def test_autocast(self):
        module = Tiny().eval()
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
        probes = Probes(module, images[:1])
        with torch.autocast("cpu", torch.bfloat16):
            features = probes(images)
            _, outputs = plain_outputs(module, images, nn.Conv2d)
        assert {part.dtype for part in features} == {torch.float32}
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("at", ["convolution", "batch_norm", "activation"])
    def test_cuda(self, batch, at):
        module = torchvision.models.resnet18().eval().double()  # no TF32
        expected = probe(module, batch.double(), at=at)[1]
        probes = Probes(module.cuda(), batch[:1].double().cuda(), at=at)
        features = probes(batch.double().cuda())
        assert all(part.is_cuda for part in features)
        # Convolutions agree to 1e-12; the float32 means differ in the order of their sums.
        torch.testing.assert_close(tuple(part.cpu() for part in features), tuple(expected), rtol=RTOL, atol=1e-6)


class Transformer(nn.Module):
    """Patches, one attention over them, and a head."""

    def __init__(self, patch=4, stride=4):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, patch, stride)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU(), batch_first=True)
        self.head = nn.Linear(8, 6)

    def forward(self, x):
        return self.head(self.attention(self.patches(x).flatten(2).mT).mean(1))


class TestNoLayers:
    """Hidden state and logits are there all the same."""

    def test_no_convolution(self):
        module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        images = torch.rand(3, 3, 2, 2)
        probes, features = probe(module, images)
        assert probes.layers == []
        assert "convolution" in probes.missing
        assert features.gap.shape == (3, 0)
        assert features.gap.dtype == torch.float32
        assert torch.equal(features.hidden, images.flatten(1))
        with pytest.raises(LabelsimError, match=r"probe\.layers"):
            Probes(module, images[:1], layers=["conv*"])

    @pytest.mark.parametrize("patch", [4, 7])
    def test_patches_are_no_layer(self, patch):
        module, images = Transformer(patch).eval(), torch.rand(2, 3, 16, 16)
        probes, features = probe(module, images)
        ((name, reason),) = probes.skipped
        assert name == "patches"
        assert "4 x 4 pixels" in reason
        assert f"(patches: {reason})" in probes.missing
        assert (features.gap.shape, features.hidden.shape, features.logits.shape) == ((2, 0), (2, 8), (2, 6))
        with torch.no_grad():
            torch.testing.assert_close(features.logits, module(images), rtol=0, atol=0)

    def test_patches_that_are_named_are_a_layer(self):
        module, images = Transformer().eval(), torch.rand(2, 3, 16, 16)
        _, outputs = plain_outputs(module, images, nn.Conv2d)
        probes, features = probe(module, images, layers=["patches"])
        assert (probes.layers, probes.missing) == ([Layer("patches", 8)], None)
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)

    def test_an_only_convolution_that_skips_pixels_is_a_layer(self):
        module, images = Transformer(3, 2).eval(), torch.rand(2, 3, 16, 16)
        probes, _ = probe(module, images)
        assert (probes.layers, probes.missing) == ([Layer("patches", 8)], None)

    def test_a_stem_that_patches_beside_other_convolutions_is_a_layer(self, images):
        class ConvNext(Tiny):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 4, 2, stride=2)

        probes, _ = probe(ConvNext(), images)
        assert [layer.name for layer in probes.layers] == ["a", "b", "c"]
        assert probes.missing is None

    @pytest.mark.parametrize("name", ["vit_b_32", "swin_t"])
    def test_transformers_of_torchvision(self, name):
        module = torchvision.models.get_model(name)
        probes = Probes(module, torch.zeros(1, 3, 224, 224))
        assert probes.layers == []
        assert "cuts the image into patches" in probes.missing
        assert probes.hidden_units == 768


class TestNotes:
    @pytest.mark.parametrize(("activation", "noted"), [(nn.SiLU(), True), (nn.ReLU(), False), (nn.ReLU6(), False)])
    def test_activations_other_than_relu(self, images, activation, noted):
        class Other(Tiny):
            def __init__(self):
                super().__init__()
                self.relu = activation
                self.gate = nn.Sigmoid()

            def maps(self, x):
                return self.gate(self.c(self.relu(self.b(self.relu(self.a(x))))))

        notes = Probes(Other(), images[:1]).notes
        assert ["SiLU, Sigmoid" in note for note in notes] == [True] * noted
        assert Probes(Other(), images[:1], at="activation").notes == []  # nothing is rectified there

    def test_activations_that_are_no_modules_are_not_judged(self, images):
        assert Probes(Tiny(), images[:1]).notes == []  # its ReLU does not run


class TestBatchNorm:
    def test_only_what_takes_the_convolutions_own_output(self, images):
        class Between(Tiny):
            def maps(self, x):
                return self.c(self.norm(self.relu(self.b(self.a(x)))))

        with pytest.raises(LabelsimError, match=r"probe\.layers .*\bb: no batch norm"):
            Probes(Between(), images[:1], at="batch_norm", layers=["[abc]"])

    def test_one_batch_norm_after_two_convolutions(self, images):
        class Shared(Tiny):
            def maps(self, x):
                return self.c(self.norm(self.b(self.norm(self.a(x)))))

        module = Shared().eval()
        module.norm.running_mean.fill_(0.1)
        _, outputs = plain_outputs(module, images, nn.BatchNorm2d)
        probes, features = probe(module, images, at="batch_norm")
        assert probes.layers == [Layer("a", 4), Layer("b", 4)]
        assert [name for name, _ in probes.skipped] == ["c"]
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs), RTOL, ATOL)

    @pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.ReLU6])
    @pytest.mark.parametrize("dropout", [nn.Identity, None])
    def test_that_goes_on_to_its_activation(self, images, activation, dropout):
        class Fused(nn.BatchNorm2d):
            def __init__(self):
                super().__init__(4)
                self.drop = dropout and dropout()
                self.act = activation(inplace=True)

            def forward(self, x):
                x = super().forward(x)
                return self.act(self.drop(x) if self.drop else x)

        class Timm(Tiny):
            def __init__(self):
                super().__init__()
                self.norm = Fused()

            def maps(self, x):
                return self.c(self.norm(self.a(x)))

        module = Timm().eval()
        nn.init.normal_(module.norm.running_mean)
        if dropout is None and activation is not nn.ReLU:
            reasons = dict(Probes(module, images[:1], at="batch_norm").skipped)
            assert activation.__name__ in reasons["a"]
            return
        with torch.no_grad():
            norm = nn.BatchNorm2d.forward(module.norm, module.a(images))
        probes, features = probe(module, images, at="batch_norm")
        assert probes.layers == [Layer("a", 4)]
        np.testing.assert_allclose(features.gap.numpy(), pool([norm.numpy().astype(np.float64)]), RTOL, ATOL)


class TestActivation:
    def test_in_place_and_negative_values(self, images):
        class Leaky(Tiny):
            def __init__(self):
                super().__init__()
                self.leaky = nn.LeakyReLU(0.5, inplace=True)

            def maps(self, x):
                return self.c(self.leaky(self.a(x)).add_(1))

        module = Leaky().eval()
        _, outputs = plain_outputs(module, images, nn.LeakyReLU)
        probes, features = probe(module, images, at="activation")
        assert probes.layers == [Layer("leaky", 4)]
        assert [name for name, _ in probes.skipped] == ["relu"]
        assert outputs[0].min() < 0
        # Both signs: rounding errors are relative to values around 1, not to their mean.
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs, rectify=False), RTOL, 1e-6)

    def test_channels_last_are_followed_and_what_is_no_map_is_skipped(self, images):
        class ChannelsLast(Tiny):
            def __init__(self):
                super().__init__()
                self.point = nn.Linear(4, 4)
                self.gelu = nn.GELU()
                self.softmax = nn.Softmax2d()

            def maps(self, x):
                maps = self.softmax(self.relu(self.a(x)))
                return self.c(self.gelu(self.point(maps.movedim(1, 3))).movedim(3, 1))

            def forward(self, x):
                return self.relu(super().forward(x))

        module = ChannelsLast().eval()
        _, (maps, moved, _) = plain_outputs(module, images, (nn.ReLU, nn.GELU))
        probes, features = probe(module, images, at="activation")
        assert probes.layers == [Layer("relu#1", 4), Layer("gelu", 4)]
        expected = np.concatenate([maps.mean((2, 3)), moved.mean((1, 2))], axis=1)
        np.testing.assert_allclose(features.gap.numpy(), expected, RTOL, 1e-6)  # GELU takes both signs
        ((name, reason),) = probes.skipped
        assert name == "relu#2"
        assert "(1, 6)" in reason

    def test_a_part_of_a_linear_layers_output_is_followed_too(self, images):
        class Gated(Tiny):
            def __init__(self):
                super().__init__()
                self.both = nn.Linear(4, 8)
                self.gate = nn.GELU()

            def maps(self, x):
                gate, rest = self.both(self.relu(self.a(x)).movedim(1, 3)).chunk(2, dim=3)
                return self.c((self.gate(gate) * rest).movedim(3, 1))

        probes = Probes(Gated(), images[:1], at="activation")
        assert (probes.layers, probes.skipped) == ([Layer("relu", 4), Layer("gate", 4)], [])

    def test_network_without_activation_modules(self, images):
        class Bare(Tiny):
            def __init__(self):
                super().__init__()
                self.relu = None

        with pytest.raises(LabelsimError, match=r"probe\.layers"):
            Probes(Bare(), images[:1], at="activation", layers=["relu"])
        assert "activation" in Probes(Bare(), images[:1], at="activation").missing


class TestHead:
    @pytest.mark.parametrize("head", ["auto", "classifier.1"])
    def test_squeezenet_ends_in_a_convolution_and_a_mean(self, head, batch):
        module = torchvision.models.squeezenet1_1().eval()
        names, outputs = plain_outputs(module, batch, nn.Conv2d)
        _, (dropped,) = plain_outputs(module, batch, nn.Dropout)
        probes, features = probe(module, batch, head=head)
        assert (probes.head, probes.hidden_units, probes.outputs) == ("classifier.1", 512, 1000)
        assert [layer.name for layer in probes.layers] == names[:-1]
        assert [name for name, _ in probes.skipped] == ["classifier.1"]
        np.testing.assert_allclose(features.gap.numpy(), pool(outputs[:-1]), RTOL, ATOL)
        np.testing.assert_allclose(features.hidden.numpy(), pool([dropped], rectify=False), RTOL, ATOL)
        # The ReLU after the classification layer shows its output, not a layer's channels.
        activations = Probes(module, batch[:1], at="activation")
        assert [name for name, _ in activations.skipped] == ["classifier.2"]

    @pytest.mark.parametrize("head", ["auto", "2"])
    def test_convolution_as_head(self, images, head):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 7, 1), nn.Flatten()).eval()
        _, (pooled,) = plain_outputs(module, images, nn.AdaptiveAvgPool2d)
        probes, features = probe(module, images, head=head)
        assert (probes.head, probes.hidden_units, probes.outputs) == ("2", 4, 7)
        assert probes.layers == [Layer("0", 4)]
        np.testing.assert_array_equal(features.hidden.numpy(), pooled[:, :, 0, 0])

    def test_the_last_linear_layer_called_need_not_be_the_head(self, images):
        class Gated(Tiny):
            """Ends in a convolution; the last linear layer that it calls belongs to squeeze-and-excitation."""

            def __init__(self):
                super().__init__()
                self.squeeze, self.excite = nn.Linear(5, 2), nn.Linear(2, 5)
                self.head = nn.Conv2d(5, 6, 1)

            def forward(self, x):
                maps = self.maps(x)
                gates = self.excite(self.squeeze(maps.mean((2, 3))).relu()).sigmoid()
                return self.head((maps * gates[:, :, None, None]).mean((2, 3), keepdim=True)).flatten(1)

        probes, _ = probe(Gated(), images)
        assert (probes.head, probes.hidden_units, probes.outputs) == ("head", 5, 6)
        assert [layer.name for layer in probes.layers] == ["a", "b", "c"]

    def test_a_head_of_the_users_own(self, images):
        class Cosine(nn.Module):
            def __init__(self):
                super().__init__()
                self.directions = nn.Parameter(torch.randn(6, 5))

            def forward(self, x):
                return nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.directions)) * 16

        class Metric(Tiny):
            def __init__(self):
                super().__init__()
                self.projection, self.head = nn.Linear(5, 5), Cosine()

            def forward(self, x):
                return self.head(self.projection(self.maps(x).mean((2, 3)))).softmax(1)

        module = Metric().eval()
        _, (projected,) = plain_outputs(module, images, nn.Linear)
        probes, features = probe(module, images)
        assert (probes.head, probes.hidden_units, probes.outputs) == ("head", 5, 6)
        np.testing.assert_array_equal(features.hidden.numpy(), projected.astype(np.float32))

    @pytest.mark.parametrize("twice", [False, True])
    def test_a_head_that_is_no_layer(self, images, twice):
        class Functional(Tiny):
            def forward(self, x):
                hidden = self.maps(x).mean((2, 3))
                if twice:
                    hidden = nn.functional.linear(hidden, torch.eye(5))
                return nn.functional.linear(hidden, self.head.weight)

        # Inside another network, too, whose input is not what the product takes.
        for module in (Functional(), nn.Sequential(nn.Identity(), Functional())):
            with pytest.raises(LabelsimError, match=r"probe\.head"):
                Probes(module, images[:1])

    def test_a_head_that_multiplies_something_else_than_its_input(self, images):
        class Halved(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.randn(6, 5))

            def forward(self, x):
                return nn.functional.linear(x.unflatten(1, (2, 5)).mean(1), self.weight)

        class Twice(Tiny):
            def __init__(self):
                super().__init__()
                self.head = Halved()

            def forward(self, x):
                return self.head(self.maps(x).mean((2, 3)).repeat(1, 2))

        with pytest.raises(LabelsimError, match=r"probe\.head"):
            Probes(Twice(), images[:1])
        assert Probes(Twice(), images[:1], head="head").hidden_units == 10  # as asked for

    def test_heads_that_are_averaged_get_a_note(self, images):
        class Distilled(Tiny):
            def __init__(self):
                super().__init__()
                self.other = nn.Linear(5, 6)

            def forward(self, x):
                hidden = self.maps(x).mean((2, 3))
                return (self.head(hidden) + self.other(hidden.neg())) / 2

        module = Distilled().eval()
        with torch.no_grad():
            hidden = module.maps(images).mean((2, 3))
        probes, features = probe(module, images)
        assert probes.head == "other"
        assert any("head" in note and "other" in note for note in probes.notes)
        torch.testing.assert_close(features.hidden, -hidden, rtol=0, atol=0)
        named, _ = probe(module, images, head="head")
        assert (named.head, named.notes) == ("head", [])

    def test_a_head_beside_which_tokens_are_classified(self, images):
        class Auxiliary(Tiny):
            def __init__(self):
                super().__init__()
                self.tokens = nn.Linear(5, 6)

            def forward(self, x):
                maps = self.maps(x)
                return self.head(maps.mean((2, 3))) + self.tokens(maps.flatten(2).mT).amax(1)

        probes, _ = probe(Auxiliary(), images)
        assert (probes.head, probes.hidden_units) == ("head", 5)

    def test_a_head_with_low_rank_adapters(self, images):
        class Adapted(Tiny):
            def __init__(self):
                super().__init__()
                self.down, self.up = nn.Linear(5, 2, bias=False), nn.Linear(2, 6, bias=False)

            def forward(self, x):
                hidden = self.maps(x).mean((2, 3))
                return self.head(hidden) + self.up(self.down(hidden))

        probes, _ = probe(Adapted(), images)
        assert (probes.head, probes.hidden_units) == ("head", 5)

    def test_two_heads(self, images):
        class Two(Tiny):
            def __init__(self):
                super().__init__()
                self.early = nn.Linear(4, 3)

            def forward(self, x):
                maps = self.a(x)
                logits = self.head(self.c(self.b(maps)).mean((2, 3)))
                self.early(maps.amax((2, 3)))
                return logits

        last, _ = probe(Two(), images)
        assert (last.head, last.hidden_units, last.outputs) == ("head", 5, 6)
        named, features = probe(Two(), images, head="early")
        assert (named.head, named.hidden_units) == ("early", 4)
        assert features.hidden.shape == (4, 4)

    @pytest.mark.parametrize(("head", "named"), [("haed", "head"), ("norm", r"a \(Conv2d\)")])
    def test_head_that_does_not_run(self, images, head, named):
        with pytest.raises(LabelsimError, match=rf"^probe\.head: .*'{head}'.*{named}"):
            Probes(Tiny(), images[:1], head=head)

    def test_hidden_state_that_is_no_row(self, images):
        class Tokens(Tiny):
            def forward(self, x):
                return self.head(self.maps(x).flatten(2).mT).mean(1)

        with pytest.raises(LabelsimError, match=r"'head' .*\(1, 35, 5\)"):
            Probes(Tokens(), images[:1])

    @pytest.mark.parametrize(
        ("wrap", "message"),
        [
            (lambda logits: (logits, logits), "is a tuple"),
            (lambda logits: {"logits": logits}, "is a dict"),
            (lambda logits: logits[:, :, None], r"has shape \(1, 6, 1\)"),
        ],
    )
    def test_output_that_is_no_table(self, images, wrap, message):
        class Wrapped(Tiny):
            def forward(self, x):
                return wrap(super().forward(x))

        with pytest.raises(LabelsimError, match=f"output {message}, but must be one tensor"):
            Probes(Wrapped(), images[:1])
