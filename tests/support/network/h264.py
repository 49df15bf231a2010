"""H.264 without an encoder: flat pictures of raw samples (I_PCM), as keyframes or as pictures of a group.

A real decoder reads them. Sections and names are those of the specification, ITU-T H.264, 7.3.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

WIDTH, HEIGHT = 128, 96
FPS = 15
_MACROBLOCKS = WIDTH * HEIGHT // 256
_BASELINE, _LEVEL = 66, 30
_I_PCM = 25
_START = b"\0\0\0\1"


def _unsigned(value: int) -> str:
    """ue(v): Exp-Golomb, 9.1."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _bytes(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _unit(kind: int, content: bytes) -> bytes:
    """A NAL unit with reference, 7.3.1, its content kept from looking like a start code."""
    for byte in range(4):
        content = content.replace(bytes((0, 0, byte)), bytes((0, 0, 3, byte)))
    return bytes((3 << 5 | kind,)) + content


SPS = _unit(7, bytes((_BASELINE, 0, _LEVEL)) + _bytes(
    _unsigned(0) + _unsigned(0) + _unsigned(2) + _unsigned(1) + "0"     # order of pictures: that of decoding
    + _unsigned(WIDTH // 16 - 1) + _unsigned(HEIGHT // 16 - 1) + "1" + "1" + "0" + "0" + "1"))
PPS = _unit(8, _bytes(_unsigned(0) * 2 + "0" + "0" + _unsigned(0) * 3 + "0" + "00" + _unsigned(0) * 3 + "100" + "1"))
SPROP = ",".join(base64.b64encode(unit).decode() for unit in (SPS, PPS))
"""The parameter sets as RTSP describes them."""


def picture(number: int, grey: int, *, keyframe: bool) -> bytes:
    """One picture as a NAL unit; `number` counts from the last keyframe, which has 0."""
    head = _unsigned(0) + _unsigned(7 if keyframe else 5) + _unsigned(0) + f"{number % 16:04b}"
    head += _unsigned(0) + "00" if keyframe else "000"                  # the marking of references
    content, bits = b"", head + _unsigned(0) + _unsigned(1)             # no deblocking
    kind = _unsigned(_I_PCM) if keyframe else _unsigned(0) + _unsigned(_I_PCM + 5)
    for _ in range(_MACROBLOCKS):
        content += _bytes(bits + kind) + bytes((grey,)) * 256 + bytes((128,)) * 128
        bits = ""
    return _unit(5 if keyframe else 1, content + b"\x80")


def film(pictures: int, group: int) -> bytes:
    """A raw film: the grey of picture i is 20 + i, and every `group`th picture is a keyframe."""
    return b"".join(_START + unit for unit in _film(pictures, group))


def _film(pictures: int, group: int) -> Iterator[bytes]:
    for index in range(pictures):
        if index % group == 0:
            yield from (SPS, PPS)
        yield picture(index % group, 20 + index, keyframe=index % group == 0)
