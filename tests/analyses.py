"""The analyses beyond the paper, as a test's configuration switches them."""

from labelsim.config import load

DEFAULTS = load({"run": "any", "dataset": {"source": "any"}})["analysis"]
SWITCHED = [name for name, section in DEFAULTS.items() if "enabled" in section]
OFF = {name: {"enabled": False} for name in SWITCHED}  # the tests of other things need no analysis
