"""Compile functions with Numba."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

__all__ = ["compiled"]

Result = TypeVar("Result")


def compiled(function: Callable[..., Result], **options: Any) -> Callable[..., Result]:
    """Compile a function of numbers and arrays on its first call, and release the GIL while it runs.

    `options` are further ones of `numba.njit`.

    The machine code is cached next to the source or in the user's cache folder. If neither is writable, every process
    compiles again.
    """
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # no writable cache folder
        return njit(nogil=True, **options)(function)
