"""Activations of tokens and of channels-last maps, and what `probe.at: auto` takes of a network."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from labelsim.errors import LabelsimError
from labelsim.network.probes import Layer, Probes

# Means of at most 256 values of both signs around 1, in float32: off by at most 256 * 6e-8 in theory, 1e-6 in practice.
ATOL = 5e-6


def vit(**options):
    return torchvision.models.vit_b_16(image_size=32, **options)


def mixer():
    return timm.create_model("mixer_s16_224", img_size=64)


def crossvit():
    return timm.create_model("crossvit_tiny_240")


# By network: the side of its images, the number of its activations, and of its channels.
NETWORKS = {
    "vit_b_16": (vit, 32, 12, 12 * 3072),
    "swin_t": (torchvision.models.swin_t, 64, 12, 4 * (2 * 96 + 2 * 192 + 6 * 384 + 2 * 768)),
    "convnext_tiny": (torchvision.models.convnext_tiny, 64, 18, 4 * (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768)),
    # Its token mixers have 256 units, which are applied to each channel of the tokens.
    "mixer_s16": (mixer, 64, 16, 8 * (256 + 2048)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def classifier(request):
    build, side, activations, channels = NETWORKS[request.param]
    torch.manual_seed(0)
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1)) * 4 - 2
    return build().eval(), images, activations, channels


def hooked(module, images, kind):
    """Names and outputs of the modules of one kind, in the order of their calls, as float64."""
    seen = []
    for name, part in module.named_modules():
        if isinstance(part, kind):
            part.register_forward_hook(lambda _, args, out, name=name: seen.append((name, out.double().numpy())))
    with torch.no_grad():
        module(images)
    for part in module.modules():
        part._forward_hooks.clear()
    return [name for name, _ in seen], [out for _, out in seen]


def test_equal_to_plain_hooks(classifier):
    module, images, activations, channels = classifier
    names, outputs = hooked(module, images, nn.GELU)
    assert len(names) == activations
    probes = Probes(module, images[:1], at="activation")
    gap = probes(images).gap.numpy()
    probes.close()
    # The last dimension is that of the linear layer before: (N, tokens, C), (N, H, W, C), or (N, C, units).
    expected = np.concatenate([out.reshape(len(out), -1, out.shape[-1]).mean(1) for out in outputs], axis=1)
    assert expected.shape == (3, channels)
    assert [layer.name for layer in probes.layers] == names
    assert [layer.channels for layer in probes.layers] == [out.shape[-1] for out in outputs]
    assert (probes.skipped, probes.missing, probes.notes) == ([], None, [])
    np.testing.assert_allclose(gap, expected, rtol=1e-5, atol=ATOL)


class Tokens(nn.Module):
    """Patches, and what a subclass does with them."""

    def __init__(self, channels=8):
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, 4)
        self.gelu = nn.GELU()
        self.head = nn.Linear(channels, 6)

    def mix(self, x):
        return self.gelu(x)

    def forward(self, x):
        return self.head(self.mix(self.patches(x)).flatten(2).mean(2))


class TokensLast(Tokens):
    def mix(self, x):
        return self.gelu(x.flatten(2))


class Encoder(Tokens):
    """PyTorch's own layer, which skips its activation module where it may."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, activation=self.gelu, batch_first=True)

    def mix(self, x):
        return self.encoder(x.flatten(2).mT).mT


class Merged(Tokens):
    """Heads and their dimensions become channels, of which the trace loses track."""

    def mix(self, x):
        heads = x.flatten(2).mT.unflatten(2, (2, 4)).transpose(1, 2)  # (N, heads, tokens, dimensions)
        return self.gelu((heads * 2).transpose(1, 2).flatten(2)).mT


@pytest.mark.parametrize(
    ("network", "places", "assumed"), [(Tokens, (2, 3), 0), (TokensLast, 2, 0), (Encoder, 1, 0), (Merged, 1, 1)]
)
def test_the_dimension_of_the_channels(network, places, assumed):
    module, images = network().eval(), torch.rand(4, 3, 32, 32)  # as many channels as rows and columns of patches
    _, (out,) = hooked(module, images, nn.GELU)
    probes = Probes(module, images[:1], at="activation")
    assert [layer.channels for layer in probes.layers] == [out.shape[1] if places != 1 else out.shape[2]]
    np.testing.assert_allclose(probes(images).gap.numpy(), out.mean(places), rtol=1e-5, atol=ATOL)
    assert sum("gelu" in note for note in probes.notes) == assumed


def test_what_has_no_tokens_of_one_image_is_left_out():
    class Windows(Tokens):
        def mix(self, x):
            windows = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
            return self.gelu(windows).mean(0, keepdim=True)

    probes = Probes(Windows(), torch.rand(1, 3, 32, 32), at="activation")
    ((name, reason),) = probes.skipped
    assert (probes.layers, name) == ([], "gelu")
    assert "(4, 8, 4, 4)" in reason


class TestAuto:
    @pytest.mark.parametrize(
        ("build", "side", "at"),
        [
            (vit, 32, "activation"),
            (torchvision.models.swin_t, 64, "activation"),
            (mixer, 64, "activation"),
            (crossvit, 240, "activation"),
            (torchvision.models.resnet34, 64, "convolution"),
            (torchvision.models.convnext_tiny, 64, "convolution"),
        ],
    )
    def test_is_convolution_where_one_is_no_patch_embedding(self, build, side, at):
        module, example = build(), torch.rand(1, 3, side, side)
        found = Probes(module, example, at="auto")
        found.close()
        expected = Probes(module, example, at=at)
        assert (found.at, found.layers, found.skipped) == (at, expected.layers, expected.skipped)
        assert found.layers
        (note,) = set(found.notes) - set(expected.notes)
        assert note.startswith("probe.at: ")
        assert at in note
        if at == "activation":
            expected.close()
            none = Probes(module, example)
            assert (none.at, none.layers) == ("convolution", [])
            assert all(isinstance(module.get_submodule(name), nn.Conv2d) for name, _ in none.skipped)
            assert "probe.at: activation" in none.missing

    @pytest.mark.parametrize(
        ("second", "at"), [(nn.Conv2d(8, 8, 2, 2), "activation"), (nn.Conv2d(8, 8, 1), "convolution")]
    )
    def test_patches_may_be_merged_but_1_x_1_is_no_patch(self, second, at):
        class Merging(Tokens):
            def __init__(self):
                super().__init__()
                self.second = second

            def mix(self, x):
                return self.gelu(self.second(x))

        assert Probes(Merging(), torch.rand(1, 3, 32, 32), at="auto").at == at

    def test_layers_are_of_the_kind_that_is_taken(self):
        probes = Probes(Encoder(), torch.rand(1, 3, 32, 32), ["g*"], at="auto")
        assert probes.layers == [Layer("gelu", 16)]
        with pytest.raises(LabelsimError, match=r"^probe\.layers"):
            Probes(Encoder(), torch.rand(1, 3, 32, 32), ["patches"], at="auto")
