"""The memory limit of the capture child: a stream may declare a picture of gigabytes, and nothing else stops it.

Invariants: the limit is at least twice what was measured. A failure near the limit is reported with the figures.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings

BASE_BYTES = 320 * 2**20
"""Added to what the imports took. Decoding 3840 x 2160 was measured to take 119 MiB with VP9, 113 with MPEG-4 and 82
with MJPEG, whatever size is configured. An H.264 encoder may need three times the reference frames. For picamera2 and
libcamera's threads 100 MiB are assumed; their camera buffers are shared and do not count. At 1280 x 720 the limit and
the daemon fit into MemoryMax= together."""
PIXEL_BYTES = 48
"""For each pixel of the configured size: a dozen decoded pictures, and some in BGR."""
NEAR = 0.75


class MemoryLimit:
    """The memory limit of this process, from now on."""

    def __init__(self, settings: CaptureSettings) -> None:
        # RLIMIT_DATA counts memory that is used: the address space is several times as large. What libraries and their
        # threads have taken so far differs by machine and version, so the limit is added to that.
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        self._bytes = taken + BASE_BYTES + settings.width * settings.height * PIXEL_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (self._bytes, self._bytes))

    def __str__(self) -> str:
        return f"{self._bytes >> 20} MiB of memory allowed"

    def reset_peak(self) -> None:
        """Start to measure the peak again."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def explain(self, failure: str) -> str:
        """Return the failure. If the peak since `reset_peak` is near the limit, add the figures."""
        return f"{failure}; the child took {_peak_bytes() >> 20} of the {self}" if near_limit() else failure


def return_free_memory() -> None:
    """Give back to the system what was freed. The C library keeps it, and pieces in between are lost to all others."""
    with contextlib.suppress(AttributeError):       # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)


def near_limit() -> bool:
    """Whether the peak of this process is near its limit. A read that failed then needed too much memory."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return limit != resource.RLIM_INFINITY and _peak_bytes() > NEAR * limit


def _peak_bytes() -> int:
    # VmHWM is of this address space: the maximum of getrusage begins with that of the parent process.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(peak[1]) << 10 if peak else 0
