"""The error that is meant for people, and what its messages are made of."""

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["LabelsimError", "listed", "near", "reason"]


class LabelsimError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what to do.

    Commands and jobs print the message without a traceback.
    """


def listed(items: Sequence[str], most: int = 3) -> str:
    """Items of a message, separated by commas: the first ones, and how many there are more."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def near(name: str, known: Iterable[str]) -> str:
    """End of a sentence about an unknown name: similar known names, or the first ones if none is similar."""
    names = list(known)
    if found := difflib.get_close_matches(name, names, n=5):
        return f"; did you mean {', '.join(found)}?"
    return f"; expected {listed(names, 10)}." if names else "."


def reason(error: BaseException) -> str:
    """An error of another's in one phrase: its type and what it says."""
    return f"{type(error).__name__}: {error}"
