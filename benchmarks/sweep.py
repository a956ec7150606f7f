"""A sweep over timm's families of networks: the features of each, against what runs below its modules.

The reference shares no code with labelsim's probes. It sees PyTorch's own operations: A(X) is the mean over height and
width of what each two-dimensional convolution gives, ReLU before it, and the hidden state is what the operation of the
classification layer takes. Networks have random weights, as no download is needed then, and batch norms random
statistics.

For each network it says how many convolutions ran, how many are read, and what is left out for which reasons: none may
be missing without a word. A network that labelsim refuses is listed with the reason.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from typing import Any

import results
import timm
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from labelsim.errors import LabelsimError
from labelsim.network.builder import Network
from labelsim.network.model import Model
from labelsim.network.probes import Probes
from labelsim.network.repeatability import check_repeatable

TOLERANCE = 1e-4  # of a part's largest value; float32 sums in other orders differ by some 1e-6
BATCH = 2
# The smallest of each class of networks in each of timm's modules, up to 90 million parameters, and one CondConv2d.
NAMES = """
beit_base_patch16_224 cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 cpubone_nano crossvit_tiny_240
cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 densenet121
dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_cc_b0_4e efficientvim_m1
efficientvim_m1_dist efficientvit_b0 efficientvit_l1 efficientvit_m0 ese_vovnet19b_slim_dw fasternet_t0 fastvit_t8
focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gmlp_ti16_224 halonet_h1 hardcorenas_b hgnetv2_b0 hiera_tiny_224
hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small
legacy_seresnet18 legacy_xception levit_128s levit_256d lowformer_b0 mobilenetv3_small_050 mobilenetv5_base
mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small pit_ti_224
pnasnet5large poolformerv2_s12 pvt_v2_b0 coat_lite_tiny rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50
resnest14d resnetv2_18 rexnet_100 lambda_resnet26t convnext_atto selecsls42 sequencer2d_s shvit_s1
skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window16_256
test_byobnet test_coatnet test_convnext test_efficientnet test_mambaout test_nfnet test_resnet test_vit
test_vit_relpos tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m twins_svt_small visformer_tiny
vit_tiny_patch16_dinov3_qkvb vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception41p xcit_nano_12_p8_224
"""


class Below(TorchDispatchMode):
    """What the operations below the modules take and give, in the order in which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: list[Tensor] = []  # means of the rectified outputs, (N, C) as a rule
        self.products: list[tuple[Tensor, Tensor]] = []  # what a convolution or a product takes, and what it gives

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function._schema.name
        if name == "aten::convolution" and args[1].ndim == 4:
            self.convolutions.append(result.double().clamp(min=0).mean((2, 3)))
            self.products.append((args[0].double().mean((2, 3)), result.double().mean((2, 3))))
        elif name in ("aten::addmm", "aten::mm"):
            self.products.append((args[-2].double(), result.double()))
        return result


def main() -> None:
    """Sweep, print a line a network, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks of timm, instead of some hundred")
    names = parser.parse_args().names
    warnings.simplefilter("ignore")  # timm's, about names and shapes
    rows = []
    for name in names or NAMES.split():
        started = time.perf_counter()
        rows.append({"network": name, **look(name)})
        print(
            f"{name:36} {rows[-1]['verdict']:8} {rows[-1]['what']} ({time.perf_counter() - started:.1f} s)", flush=True
        )
    counts = Counter(row["verdict"] for row in rows)
    print(
        f"{len(rows)} networks of timm {timm.__version__}:",
        ", ".join(f"{n} {verdict}" for verdict, n in counts.items()),
    )
    if not names:
        results.keep("sweep", rows)
    sys.exit(bool(counts["WRONG"]))


def look(name: str) -> dict[str, Any]:
    """Probe one network, and compare."""
    module = network(name)
    size = module.default_cfg["input_size"]
    batch = torch.rand(BATCH, *size, generator=torch.Generator().manual_seed(1)) * 4 - 2
    try:
        probes = Probes(module, batch[:1])
        settings = timm.data.resolve_model_data_config(module)
        transform = timm.data.create_transform(**settings, is_training=False)
        check_repeatable(Model(Network(module, transform, weights_digest="", labels=None, top1=None, notes=[]), probes))
        found = probes(batch)
    except LabelsimError as error:
        return {"verdict": "refused", "what": str(error).splitlines()[0]}
    probes.close()
    with torch.no_grad(), Below() as below:
        logits = module(batch)
    layers = found.gap.double().split([layer.channels for layer in probes.layers], dim=1)
    reference = iter(below.convolutions)
    wrong = [
        layer.name
        for layer, values in zip(probes.layers, layers, strict=True)
        if not any(_same(values, other) for other in reference)  # the next one that is equal
    ]
    ran, read, left_out = len(below.convolutions), len(probes.layers), len(probes.skipped)
    if wrong:
        what = f"{wrong[0]} is not what its convolution gives"
    elif ran > read and not left_out:
        what = f"{ran - read} convolutions are missing without a word"
    elif not any(_same(found.hidden.double(), taken) for taken in _taken(below, logits.double())):
        what = f"the hidden state is not what the classification layer takes ({probes.head})"
    elif not _same(found.logits.double(), logits.double()):
        what = "the output is another"
    else:
        notes = "; ".join(dict.fromkeys(reason for _, reason in probes.skipped))
        what = f"{ran} convolutions ran, {read} read, {left_out} left out{f' ({notes})' if notes else ''}"
        return {"verdict": "equal", "what": f"{what}; {probes.hidden_units} hidden units, of {probes.head}"}
    return {"verdict": "WRONG", "what": what}


def network(name: str) -> Any:
    """A network with random weights, whose batch norms are not the identity."""
    torch.manual_seed(0)
    module = timm.create_model(name)
    if not module.num_classes:  # made for features alone
        module = timm.create_model(name, num_classes=1000)
    module.eval()
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None:
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return module


def _taken(below: Below, logits: Tensor) -> list[Tensor]:
    """What the classification layer can have taken: the operations that give the output, or else any."""
    last = [taken for taken, given in below.products if _same(given, logits)]
    return last or [taken for taken, _ in below.products]


def _same(values: Tensor, others: Tensor) -> bool:
    if values.shape != others.shape:
        return False
    return bool((values - others).abs().max() <= TOLERANCE * others.abs().max())


if __name__ == "__main__":
    main()
