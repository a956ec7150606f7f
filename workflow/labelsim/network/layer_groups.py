"""Groups of layers, chosen by globs over their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from labelsim.errors import LabelsimError, near
from labelsim.methods import METHODS

__all__ = ["check_methods", "layer_groups"]


def check_methods(methods: Sequence[str], layers: Sequence[str], missing: str | None = None) -> None:
    """Refuse methods that need layers if no layer is probed.

    Parameters
    ----------
    methods : sequence of str
        The configuration's `similarity.methods`.
    layers : sequence of str
        Names of all layers.
    missing : str, optional
        Why there are none.

    Raises
    ------
    LabelsimError
        If there are no layers, and a method needs them.
    """
    refused = [method for method in methods if METHODS[method].variable == "gap"]
    if refused and not layers:
        raise LabelsimError(
            f"similarity.methods: {' and '.join(refused)} need layers, but no layer of this network is probed: "
            f"{missing or 'see the log of the stage network'}.\n"
            "Set similarity.methods to [hidden], or select other layers with probe.at or probe.layers (`labelsim "
            "layers` shows which are left out)."
        )


def layer_groups(layers: Sequence[str], globs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The layers of each group.

    Parameters
    ----------
    layers : sequence of str
        Names of all layers.
    globs : mapping of str to sequence of str
        The configuration's `similarity.layer_groups`: globs over layer names, by group.

    Returns
    -------
    dict of str to list of str
        Layers in the order of `layers`; the group `all` is first.

    Raises
    ------
    LabelsimError
        If a glob matches no layer.
    """
    groups = {"all": list(layers)}
    for group, patterns in globs.items():
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in layers):
                raise LabelsimError(
                    f"similarity.layer_groups.{group}: {pattern!r} matches none of the {len(layers)} layers"
                    f"{near(pattern, layers)}"
                )
        groups[group] = [name for name in layers if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return groups
