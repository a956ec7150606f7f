"""The error that is meant for people."""

__all__ = ["LabelsimError"]


class LabelsimError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what to do.

    Commands and jobs print the message without a traceback.
    """
