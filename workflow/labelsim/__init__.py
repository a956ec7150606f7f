"""Finds, for every class of an image dataset, the classes that a network treats as most similar."""

from labelsim.errors import LabelsimError
from labelsim.run import Run, open_run

__all__ = ["LabelsimError", "Run", "open_run"]
