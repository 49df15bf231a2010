"""The memory limit of the capture child, and its figures in a failure."""

import os
import subprocess
import sys

import numpy as np
import pytest

from vedette.camera.settings import ENVIRON

pytestmark = pytest.mark.slow

CHILD = """
import sys
import numpy as np
from vedette.camera.child.memory import MemoryLimit
from vedette.camera.settings import CaptureSettings
settings = CaptureSettings("tcp://127.0.0.1:1", 640, 480, 30.0, 0, (), 60.0, False, False, None)
limit = MemoryLimit(settings)
limit.reset_peak()
np.ones(int(sys.argv[1]) << 20, np.uint8)
print(limit.explain("gone"))
"""


@pytest.mark.parametrize(("taken_mib", "reported"), [(1, False), (330, True)])
def test_only_the_memory_of_the_child_is_reported(taken_mib: int, reported: bool) -> None:
    """A failure that took much memory has the figures. The memory of the parent does not count."""
    parents = np.ones(500 << 20, np.uint8)
    done = subprocess.run([sys.executable, "-c", CHILD, str(taken_mib)], capture_output=True, text=True, check=True,
                          env={**os.environ, **ENVIRON})
    assert ("of memory allowed" in done.stdout) == reported
    del parents
