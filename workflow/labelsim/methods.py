"""The table of similarity methods, and the one of stored variables. What loops over either reads it here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ALIASES", "METHODS", "MOMENTS", "SPREADS", "VARIABLES", "Method", "stores"]

# Variables of the features, (sample, dimension), and the dimension of each.
VARIABLES = {"gap": "channel", "hidden": "unit", "logits": "output"}
# Variables of which moments by fold and class are kept; `probability` is the softmax of the logits.
MOMENTS = {"gap": "channel", "hidden": "unit", "probability": "output"}
# Those of which squared deviations are kept as well; for 21,841 outputs they would be as large as all other moments.
SPREADS = ("gap", "hidden")


@dataclass(frozen=True)
class Method:
    """A way to compare classes.

    Attributes
    ----------
    label : str
        What figures call it.
    store : str
        What a class is represented by: its moments (`moments`), its t statistics (`welch`), the prediction sets of its
        images (`conformal`), or the weights of its output (`head`).
    variable : str
        The variable of `MOMENTS` that is compared, or from which the store is computed.
    function : str
        The function of `labelsim.statistics.similarity` that compares them.
    centered : bool
        Whether the mean over all images is subtracted first.
    by_layer : bool
        Whether there is a matrix for each layer group.
    by_output : bool
        Whether the class of each output must be known.
    scale : str
        The scale of `labelsim.statistics.stability` on which errors are estimated.
    """

    label: str
    store: str
    variable: str
    function: str = "cosine"
    centered: bool = False
    by_layer: bool = False
    by_output: bool = False
    scale: str = "atanh"

    @property
    def needs_variance(self) -> bool:
        """Whether a class needs two images."""
        return self.store == "welch" or self.function == "pairwise"

    @property
    def largest(self) -> float:
        """Similarity of two classes that are the same. The distance of two classes is this minus their similarity."""
        return 0.0 if self.function == "pairwise" else 1.0

    @property
    def by_channel(self) -> bool:
        """Whether similarities are sums over channels: cosines of vectors of channels."""
        return MOMENTS[self.variable] == "channel" and self.function == "cosine"


# In the order in which they are shown.
METHODS = {
    "welch": Method("S · Welch statistic", "welch", "gap", by_layer=True),
    "hidden": Method("H · hidden state", "moments", "hidden"),
    "gap": Method("P · pure GAP", "moments", "gap", by_layer=True),
    "pairwise": Method("pairwise Welch statistic", "moments", "gap", "pairwise", by_layer=True, scale="linear"),
    "hidden_centered": Method("centered hidden state", "moments", "hidden", centered=True),
    "gap_centered": Method("centered GAP", "moments", "gap", centered=True),
    "output": Method("mean output", "moments", "probability"),
    "confusion": Method("confusion", "moments", "probability", "mutual", by_output=True, scale="arcsin"),
    "conformal": Method("conformal sets", "conformal", "probability", "mutual", by_output=True, scale="arcsin"),
    "weights": Method("weights of the head", "head", "hidden", by_output=True),
}

# The paper's names.
ALIASES = {"S": "welch", "H": "hidden", "P": "gap"}


def stores(methods: Iterable[str]) -> list[str]:
    """The stores that some methods need beside the moments."""
    needed = dict.fromkeys(METHODS[method].store for method in methods)
    return [store for store in needed if store != "moments"]
