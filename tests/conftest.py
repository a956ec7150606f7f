"""What every test needs before torch is imported."""

import os

# Threads of one process that spin while another process has their core slow both down many times over.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
