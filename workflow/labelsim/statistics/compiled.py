"""Compiling a function to machine code, by Numba."""

from collections.abc import Callable
from typing import TypeVar

from numba import njit

__all__ = ["compiled"]

Result = TypeVar("Result")


def compiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """Compile a function of numbers and arrays when it is first called; it lets other threads run meanwhile.

    The machine code is kept beside the source or in the user's cache folder, for the next process; where neither
    can be written, every process compiles anew.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(nogil=True)(function)
