import pytest
import torch
from torch import nn
from torchvision import transforms

from labelsim.errors import LabelsimError
from labelsim.network.builder import Network
from labelsim.network.model import Model
from labelsim.network.probes import Probes
from labelsim.network.repeatability import check_repeatable

SIZE = 24
TRANSFORM = transforms.Compose([transforms.Resize((SIZE, SIZE)), transforms.ToTensor()])


class Net(nn.Module):
    """Two convolutions with a batch norm after the first, and a head."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.second = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, **options), nn.Conv2d(6, 8, 3)
        self.head = nn.Linear(8, 5)

    def pooled(self, x):
        return self.second(self.norm(self.first(x)).relu()).relu().mean((2, 3))

    def forward(self, x):
        return self.head(self.pooled(x))


class Dropping(Net):
    def pooled(self, x):
        return nn.functional.dropout(super().pooled(x))


class AlwaysTraining(Net):
    def train(self, mode=True):
        return super().train(True)


class Counting(Net):
    """Changes with every forward pass."""

    def forward(self, x):
        self.norm.running_mean += 0.1
        return super().forward(x)


class Centred(Net):
    """Subtracts the mean over the batch from the hidden state."""

    def pooled(self, x):
        pooled = super().pooled(x)
        return pooled - pooled.mean(0)


class Broken(Net):
    def __init__(self):
        super().__init__()
        self.second.weight.data[0, 0, 0, 0] = torch.nan


def check(module, transform=TRANSFORM, **options):
    network = Network(module, transform, weights_digest="", labels=None, top1=None, notes=[])
    check_repeatable(Model(network, Probes(module, torch.rand(1, 3, SIZE, SIZE), **options)))


@pytest.mark.parametrize("at", ["convolution", "batch_norm", "activation"])
def test_a_network_that_depends_on_nothing_else(at):
    check(Net(), at=at)


@pytest.mark.parametrize(
    ("module", "kind", "first"),
    [
        (Dropping, "random", r"\(the hidden state, the output:"),
        (Counting, "random", r"\(second,"),
        (lambda: Net(track_running_stats=False), "batch", r"\(second,"),
        (AlwaysTraining, "", r"\(second,"),
        (Centred, "batch", r"\(the hidden state,"),
        (Broken, "not finite", r"second\b"),
    ],
)
def test_what_features_must_not_depend_on(module, kind, first):
    with pytest.raises(LabelsimError, match=f"{kind}.*{first}"):
        check(module())


@pytest.mark.parametrize(
    "steps",
    [
        [transforms.RandomResizedCrop(SIZE)],  # at random
        [transforms.Resize(SIZE)],  # the shorter side alone: shapes differ
        [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.RandomHorizontalFlip(0.5)] * 4,
        [transforms.Lambda(lambda image: image.crop((0, 0, SIZE, SIZE)) if image.width > 300 else None)],  # fails
    ],
)
def test_transforms_that_are_none(steps):
    with pytest.raises(LabelsimError, match=r"model\.transform"):
        check(Net(), transforms.Compose([*steps, transforms.ToTensor()]))
