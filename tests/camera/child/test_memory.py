"""The memory limit of the capture child: what it says a failure took."""

import os
import subprocess
import sys

import numpy as np
import pytest

from vedette.camera.session import ENVIRON

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


@pytest.mark.parametrize(("taken_mib", "said"), [(1, False), (330, True)])
def test_only_what_the_child_took_is_told(taken_mib, said):
    """The figures stand behind a failure that took much; what the parent took before the child began does not count."""
    parents = np.ones(500 << 20, np.uint8)
    words = subprocess.run([sys.executable, "-c", CHILD, str(taken_mib)], capture_output=True, text=True, check=True,
                           env={**os.environ, **ENVIRON})
    assert ("of memory allowed" in words.stdout) == said
    del parents
