"""The messages between the capture child and its owner, the daemon.

Invariants:
- Each message of the child says when the next one comes at the latest (`within_s`). Silence beyond it is a hang.
- The child owns a slot until it sends `FrameReady` for it, and again once the owner frees it. Only its owner writes it.
- `seq` counts every captured frame, so a gap is the number of frames that were kept back or found no free slot.
- The owner sends freed slots, and requests: a scaling, and whether it wants still frames. A request holds until the
  next one. With a slot it may order a picture of the frame in it, which comes in the slot behind the last.
- `decode` accepts what `encode` wrote and raises ValueError for anything else: the child may send nonsense.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args, get_type_hints

from vedette.camera.wire_fields import checked
from vedette.types import ReasonCode, Scaling


@dataclass(frozen=True, slots=True)
class Opening:
    """The child is about to open the source."""

    within_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The source works, and its next frame is due later: a gap in a film, or damaged pictures that are skipped."""

    within_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """The source gives no frames. The child closes it and retries without help."""

    state: Literal["offline", "stalled"]
    cause: str
    within_s: float


@dataclass(frozen=True, slots=True)
class FrameReady:
    """A slot holds a frame. If `scaling` is not empty, a scaled part of the frame follows it (see types.Scaling).

    `reasons` are the health reason codes that hold now. `view` is (detail, focus) of a types.View that was measured
    with this frame, and `outline` is its outline in hexadecimal. Both are empty on most frames. `still`: nothing moves.
    `kept_back` counts still frames before it that the owner did not want. `film_ns`: the place in a film that waits.
    """

    seq: int
    slot: int
    height: int
    width: int
    captured_ns: int
    within_s: float
    brightness: float | None
    contrast: float | None
    reasons: tuple[ReasonCode, ...]
    scaling: tuple[int, ...]
    view: tuple[float, ...] = ()
    outline: str = ""
    still: bool = False
    kept_back: int = 0
    film_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """This source gives no frame any more, to this child or to another."""

    error: Literal["ended", "invalid", "missing"]
    cause: str
    within_s: float


@dataclass(frozen=True, slots=True)
class PictureReady:
    """The picture that was ordered of a frame has so many bytes; 0: there is none. It says nothing about the source."""

    seq: int
    size_bytes: int


class PictureOrder(NamedTuple):
    """A slot that is free once its frame was encoded as JPEG, scaled down to at most `most_width` x `most_height`."""

    slot: int
    seq: int
    width: int
    height: int
    most_width: int
    most_height: int
    quality: int


Message = Opening | Waiting | Trouble | FrameReady | Final | PictureReady

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}
_HINTS = {name: get_type_hints(kind) for name, kind in _KINDS.items()}


def encode(message: Message) -> bytes:
    """Return the message as one packet."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()


def decode(packet: bytes) -> Message:
    """Return the message in a packet. Raises: ValueError when the packet is not a valid message."""
    try:
        values = json.loads(packet)
    except RecursionError as too_deep:
        raise ValueError("not a message: the JSON is nested too deep") from too_deep
    if not isinstance(values, dict) or values.get("kind") not in _KINDS:
        raise ValueError(f"not a message: {packet[:80]!r}; expected an object whose kind is one of {sorted(_KINDS)}")
    name = values.pop("kind")
    kind, hints = _KINDS[name], _HINTS[name]
    if values.keys() != hints.keys():
        raise ValueError(f"{name} has the fields {sorted(values)}, expected {sorted(hints)}")
    return kind(**{key: checked(name, key, value, hints[key]) for key, value in values.items()})


def encode_free(slot: int) -> bytes:
    """Return the packet with which the owner frees a slot."""
    return b"%d" % slot


def encode_request(scaling: Scaling | None, *, gate_is_open: bool) -> bytes:
    """Return the packet with which the owner requests scaled parts, or none, and all frames, or none that is still."""
    return b"want " + b" ".join(b"%d" % number for number in (gate_is_open, *(scaling or ())))


def encode_order(order: PictureOrder) -> bytes:
    """Return the packet with which the owner frees a slot after a picture of its frame."""
    return b"jpeg " + b" ".join(b"%d" % number for number in order)


def decode_answer(packet: bytes) -> int | PictureOrder | tuple[Scaling | None, bool]:
    """Return the freed slot, the order, or the requested scaling and whether the gate is open. Raises: ValueError."""
    if packet.startswith(b"jpeg "):
        return PictureOrder(*map(int, packet.split()[1:]))
    if not packet.startswith(b"want "):
        return int(packet)
    gate_is_open, *numbers = map(int, packet.split()[1:])
    return Scaling(*numbers) if numbers else None, bool(gate_is_open)
