"""What every test needs before torch is imported, and hypothesis without deadlines."""

import os

from hypothesis import settings

# Threads of one process that spin while another process has their core slow both down many times over.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No test asserts a time: the first example may compile, and machines are busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
