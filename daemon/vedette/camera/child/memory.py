"""How much memory the capture child may take: a stream may declare a picture of gigabytes, and nobody else would mind.

Invariants: the limit leaves at least twice what was measured; a source that failed near it is told with the figures.
"""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.camera.settings import CaptureSettings

BASE_BYTES = 320 * 2**20
"""Beside what the imports took. Decoding 3840 x 2160, whatever size is asked for, was measured to take 119 MiB (VP9;
MPEG-4 113, MJPEG 82); an H.264 encoder may ask for thrice the reference frames. For picamera2 and libcamera's threads
100 are assumed; their camera buffers, being shared, do not count. At 1280 x 720 it fits MemoryMax= with the daemon."""
PIXEL_BYTES = 48
"""For each pixel of the size asked for: a dozen pictures as they are decoded, and some in BGR."""
NEAR = 0.75


class MemoryLimit:
    """The limit of this process, from now on."""

    def __init__(self, settings: CaptureSettings) -> None:
        # RLIMIT_DATA is what means memory: the address space is several times what is used. What libraries and their
        # threads took so far differs by machine and version, hence so much more than now.
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        self._bytes = taken + BASE_BYTES + settings.width * settings.height * PIXEL_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (self._bytes, self._bytes))

    def __str__(self) -> str:
        return f"{self._bytes >> 20} MiB of memory it may take"

    def begin(self) -> None:
        """Forget how much was taken before."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def explain(self, failure: str) -> str:
        """Return the failure, with the figures if since `begin` the limit was near."""
        # Of this address space: getrusage's maximum begins with that of the process we were forked from.
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        most = int(peak[1]) << 10 if peak else 0
        return f"{failure}; it took {most >> 20} of the {self}" if most > NEAR * self._bytes else failure
