"""Finds, for every class of an image dataset, the classes that a network treats as most similar."""

from labelsim.errors import LabelsimError
from labelsim.run import Run, open_run

__all__ = ["LabelsimError", "Run", "__version__", "open_run"]

__version__ = "0.3.0"
