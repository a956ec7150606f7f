"""The table of similarity methods, and the one of stored variables. What loops over either reads it here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["METHODS", "MOMENTS", "VARIABLES", "Method", "needed"]

# Variables of the features, (sample, dimension), and the dimension of each.
VARIABLES = {"gap": "channel", "hidden": "unit", "logits": "output"}
# Those of which moments by fold and class are kept.
MOMENTS = {name: VARIABLES[name] for name in ("gap", "hidden")}


@dataclass(frozen=True)
class Method:
    """A way to compare classes.

    Attributes
    ----------
    label : str
        What figures call it.
    store, variable : str
        What a class is represented by: its means of a variable (`moments`), or its t statistics (`welch`).
    function : str
        The function of `labelsim.statistics.similarity` that compares them.
    scale : str
        The scale of `labelsim.statistics.stability` on which errors are estimated.
    """

    label: str
    store: str
    variable: str
    function: str = "cosine"
    scale: str = "atanh"

    @property
    def by_layer(self) -> bool:
        """Whether channels are compared, so that there is a matrix for each layer group."""
        return VARIABLES[self.variable] == "channel"


# In the order in which they are shown.
METHODS = {
    "welch": Method("S · Welch statistic", "welch", "gap"),
    "hidden": Method("H · hidden state", "moments", "hidden"),
    "gap": Method("P · pure GAP", "moments", "gap"),
}


def needed(store: str, methods: Iterable[str]) -> bool:
    """Whether any of some methods compares what a store holds."""
    return any(METHODS[method].store == store for method in methods)
