"""What the capture child and its owner say to each other.

Invariants:
- The child promises with each message when the next one comes (`within_s`); silence past it is a hang.
- A place belongs to the child until its `FrameReady` and again from the owner's `free`; nobody else writes it.
- `seq` counts every frame captured, so a gap is the number of frames that found no free place.
- The owner answers with places it gives back and with the scaling it wishes for; a wish holds until the next one.
- `decode` accepts what `encode` wrote and raises ValueError for anything else: the child may be out of its mind.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_type_hints

from vedette.types import Scaling


@dataclass(frozen=True, slots=True)
class Opening:
    """The child is about to open the source."""

    within_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """The source gives no frames; the child closes it and tries again by itself."""

    state: Literal["offline", "stalled"]
    cause: str
    within_s: float


@dataclass(frozen=True, slots=True)
class FrameReady:
    """A frame lies in a place, and behind it, if `scaling` is not empty, a part of it scaled (see types.Scaling).

    `reasons` are the health reason codes that hold now. `view` is (detail, focus) of a types.View that was measured
    with this frame, `outline` its bytes in hexadecimal; both empty on most frames.
    """

    seq: int
    place: int
    height: int
    width: int
    captured_ns: int
    within_s: float
    brightness: float | None
    contrast: float | None
    reasons: tuple[str, ...]
    scaling: tuple[int, ...]
    view: tuple[float, ...] = ()
    outline: str = ""


@dataclass(frozen=True, slots=True)
class Final:
    """No frame will ever come again, and no other child would get one either."""

    error: Literal["ended", "invalid", "missing"]
    cause: str
    within_s: float


Message = Opening | Trouble | FrameReady | Final

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Opening, Trouble, FrameReady, Final)}
_HINTS = {name: get_type_hints(kind) for name, kind in _KINDS.items()}


def encode(message: Message) -> bytes:
    """Return the message as one packet."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()


def decode(packet: bytes) -> Message:
    """Return the message of a packet. Raises: ValueError when it is none."""
    try:
        values = json.loads(packet)
    except RecursionError as too_deep:
        raise ValueError("no message: nested too deep") from too_deep
    if not isinstance(values, dict) or values.get("kind") not in _KINDS:
        raise ValueError(f"no message: {packet[:80]!r}")
    name = values.pop("kind")
    kind, hints = _KINDS[name], _HINTS[name]
    if values.keys() != {field.name for field in fields(kind)}:
        raise ValueError(f"{name} with the fields {sorted(values)}")
    return kind(**{key: _checked(name, key, value, hints[key]) for key, value in values.items()})


def encode_free(place: int) -> bytes:
    """Return the packet by which the owner gives a place back."""
    return b"%d" % place


def encode_wish(scaling: Scaling | None) -> bytes:
    """Return the packet by which the owner wishes for scaled parts, or no longer does."""
    return b"scale " + b" ".join(b"%d" % number for number in scaling or ())


def decode_answer(packet: bytes) -> int | Scaling | None:
    """Return the place given back, or the wish. Raises: ValueError."""
    if not packet.startswith(b"scale "):
        return int(packet)
    numbers = [int(number) for number in packet.split()[1:]]
    return Scaling(*numbers) if numbers else None


def _checked(name: str, key: str, value: Any, hint: Any) -> Any:
    if hint in (tuple[str, ...], tuple[int, ...]):
        if isinstance(value, list) and all(type(item) is hint.__args__[0] for item in value):
            return tuple(value)
    elif hint == tuple[float, ...]:
        if isinstance(value, list) and all(type(item) in (int, float) and abs(item) < 1e12 for item in value):
            return tuple(value)
    elif hint is float or hint == float | None:
        if (value is None and hint is not float) or (type(value) in (int, float) and abs(value) < 1e12):
            return value
    elif hint in (int, str):
        if type(value) is hint:
            return value
    elif value in hint.__args__:
        return value
    raise ValueError(f"{name}.{key} is {value!r}")
