"""The part of libcamera's Python module that picamera2 takes and gives: colour spaces, transforms, names of values."""

# ruff: noqa: N801, N802 - the names are those of libcamera

from dataclasses import dataclass
from enum import IntEnum
from typing import Self


@dataclass(frozen=True)
class ColorSpace:
    """A colour space: the red and blue weights of its matrix, and whether its range is full."""

    name: str
    red: float
    blue: float
    full: bool

    @classmethod
    def Smpte170m(cls) -> Self:
        return cls("Smpte170m", 0.299, 0.114, full=False)

    @classmethod
    def Rec709(cls) -> Self:
        return cls("Rec709", 0.2126, 0.0722, full=False)

    @classmethod
    def Sycc(cls) -> Self:
        return cls("Sycc", 0.299, 0.114, full=True)


@dataclass(frozen=True)
class Transform:
    hflip: bool = False
    vflip: bool = False
    transpose: bool = False


class controls:
    class AfModeEnum(IntEnum):
        Manual = 0
        Auto = 1
        Continuous = 2

    class AwbModeEnum(IntEnum):
        Auto = 0
        Tungsten = 2
        Indoor = 4
        Daylight = 5
        Cloudy = 6

    class HdrModeEnum(IntEnum):
        Off = 0
        MultiExposureUnmerged = 1
        MultiExposure = 2
        SingleExposure = 3
        Night = 4

    class draft:
        class NoiseReductionModeEnum(IntEnum):
            Off = 0
            Fast = 1
            HighQuality = 2
            Minimal = 3
