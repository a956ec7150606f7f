"""Groups of layers, chosen by globs over their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from labelsim.errors import LabelsimError

__all__ = ["layer_groups"]


def layer_groups(layers: Sequence[str], globs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The layers of each group.

    Parameters
    ----------
    layers : sequence of str
        Names of all layers.
    globs : mapping of str to sequence of str
        The configuration's `similarity.layer_groups`: name of a group, and globs over layer names.

    Returns
    -------
    dict of str to list of str
        In the order of `layers`; the group `all` is first.

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
                    f"similarity.layer_groups.{group}: {pattern!r} matches none of the {len(layers)} layers, "
                    f"such as {', '.join(layers[:3])}; `labelsim layers` lists them"
                )
        groups[group] = [name for name in layers if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return groups
