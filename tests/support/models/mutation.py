"""Makes mutated model files, each defined by its number: cut off, with changed bytes, offsets, shapes or operations, or
with moved parts.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.models import writer
from vedette.tflite.flatbuffer import Buffer

REAL = Path(__file__).resolve().parents[4] / "shared" / "real" / "models"
_LARGE = 256
_TWISTS = (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, 0xFFFF_FFFF)
_NUMBERS = (-1, 0, 1, 2, 3, 4, 5, 6, 8, 40, 84, 1000, 2100, 1 << 20, (1 << 31) - 1)


@dataclass(frozen=True)
class Base:
    """A sound model to mutate."""

    name: str
    content: bytes

    @cached_property
    def structure(self) -> array[int]:
        """Positions of all bytes that are not in large buffers of weights."""
        weights = []
        for table in Buffer(memoryview(self.content)).root().tables(4):
            content = bytes(table.bytes_view(0))
            if len(content) > _LARGE:
                start = self.content.find(content)
                weights.append(range(start, start + len(content)))
        weights.sort(key=lambda place: place.start)
        positions = array("I")
        at = 0
        for place in [*weights, range(len(self.content), len(self.content))]:
            positions.extend(range(at, place.start))
            at = max(at, place.stop)
        return positions


    @cached_property
    def vectors(self) -> list[int]:
        """Positions of the graph's vectors of four bytes each: its tensors and their shapes, its operations, and the
        inputs and outputs of both. The length comes first.
        """
        graph = next(Buffer(memoryview(self.content)).root().tables(2))
        asked = [(graph, range(4)), *((tensor, [0]) for tensor in graph.tables(0)),
                 *((op, (1, 2)) for op in graph.tables(3))]
        starts = [table._vector(slot, 4)[0] for table, slots in asked for slot in slots]
        return [start - 4 for start in starts if start]


def small_bases() -> list[Base]:
    """Return the built models."""
    labelled = writer.with_zip(writer.logistic(), {"labels.txt": b"cat\ndog\n"})
    return [Base("identity", writer.identity()), Base("logistic", writer.logistic()),
            Base("convolution", writer.convolution()), Base("zipped", labelled),
            Base("described", writer.described()), Base("detection", writer.detection_postprocess())]


def real_bases() -> list[Base]:
    """Return the real models; none where the folder is absent."""
    return [Base(path.name, path.read_bytes()) for path in sorted(REAL.glob("*.tflite"))]


def mutant(number: int, small: list[Base], real: list[Base]) -> bytes:
    """Return mutant `number`. One in eight is made from a real model, where there are any."""
    dice = random.Random(number)
    base = dice.choice(real if real and number % 8 == 0 else small)
    return dice.choice(_KINDS)(dice, base)


def _cut(dice: random.Random, base: Base) -> bytes:
    return base.content[:dice.randrange(len(base.content))]


def _cut_near_structure(dice: random.Random, base: Base) -> bytes:
    return base.content[:dice.choice(base.structure)]


def _structural_bytes(dice: random.Random, base: Base) -> bytes:
    content = bytearray(base.content)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        content[dice.choice(base.structure)] = dice.randrange(256)
    return bytes(content)


def _random_bytes(dice: random.Random, base: Base) -> bytes:
    content = bytearray(base.content)
    for _ in range(8):
        content[dice.randrange(len(content))] = dice.randrange(256)
    return bytes(content)


def _twisted_number(dice: random.Random, base: Base) -> bytes:
    content = bytearray(base.content)
    for _ in range(dice.choice((1, 1, 2))):
        at = min(dice.choice(base.structure) & ~3, len(content) - 4)
        near = struct.unpack_from("<I", content, at)[0] + dice.choice((-4, -1, 1, 4))
        struct.pack_into("<I", content, at, dice.choice((*_TWISTS, near % 2**32)))
    return bytes(content)


def _moved_part(dice: random.Random, base: Base) -> bytes:
    start, target = sorted(dice.choice(base.structure) for _ in range(2))
    part = base.content[start:start + dice.choice((1, 4, 16, 64))]
    return base.content[:target] + part + base.content[target + dice.choice((0, len(part))):]


def _changed_vector(dice: random.Random, base: Base) -> bytes:
    """Of a shape, or of what an operation or the graph takes or gives: another length, or another number in it."""
    content = bytearray(base.content)
    for _ in range(dice.choice((1, 1, 2))):
        at = dice.choice(base.vectors)
        count = struct.unpack_from("<I", base.content, at)[0]
        if not count or dice.random() < 0.4:
            struct.pack_into("<I", content, at, dice.choice((0, 0, max(0, count - 1), count + 1)))
        else:
            struct.pack_into("<i", content, at + 4 * dice.randint(1, count), dice.choice(_NUMBERS))
    return bytes(content)


_KINDS: tuple[Callable[[random.Random, Base], bytes], ...] = (
    _cut, _cut_near_structure, _structural_bytes, _structural_bytes, _twisted_number, _random_bytes, _moved_part,
    _changed_vector, _changed_vector)
