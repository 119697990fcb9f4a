"""Set-up shared by every test."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; must be set before torch is first imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
