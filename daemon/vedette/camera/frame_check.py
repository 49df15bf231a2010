"""What a frame of the child must be like. The child may send nonsense.

Invariants: pure; each refusal is a ValueError that says what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vedette.types import OUTLINE_BYTES, Scaling, View

if TYPE_CHECKING:
    from vedette.camera.wire import FrameReady

AHEAD_NS = 1_000_000_000


def check_frame(frame: FrameReady, newest_seq: int, now_ns: int) -> None:
    """Check all but the slot of a frame, which comes after the frame `newest_seq`. Raises: ValueError."""
    if frame.seq <= newest_seq:
        raise ValueError(f"frame {frame.seq} came after frame {newest_seq}, expected a higher number")
    if not 0 <= frame.kept_back < frame.seq - newest_seq:
        raise ValueError(f"{frame.kept_back} frames were kept back between {newest_seq} and {frame.seq}")
    if not 0 < frame.captured_ns <= now_ns + AHEAD_NS:
        raise ValueError(f"frame {frame.seq} was captured at {frame.captured_ns} ns, expected a time in the past")
    if frame.scaling and len(frame.scaling) != len(Scaling._fields):
        raise ValueError(f"the scaling {frame.scaling} is incomplete, expected {len(Scaling._fields)} numbers")
    view_of(frame)
    if min(*frame.view, frame.brightness or 0.0, frame.contrast or 0.0) < 0:
        raise ValueError("negative picture statistics, expected 0 or more")


def view_of(frame: FrameReady) -> View | None:
    """Return the view that was measured on a frame, or None. Raises: ValueError."""
    if not frame.view:
        return None
    detail, focus = frame.view
    outline = bytes.fromhex(frame.outline)
    if len(outline) not in (0, OUTLINE_BYTES):
        raise ValueError(f"the outline has {len(outline)} bytes, expected {OUTLINE_BYTES} or none")
    return View(detail, focus, outline)
