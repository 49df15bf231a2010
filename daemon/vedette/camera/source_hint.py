"""What a person may have meant by a source that is no path: `0`, a bare host, quotes that a word processor made.

Invariants: pure, standard library only. A hint never repeats more than the source itself. A secret in an address of a
camera is masked.
"""

from __future__ import annotations

import re

from vedette.net.urls import shown

_NUMBER = re.compile(r"(?:/?dev/)?(?:video)?(\d{1,2})", re.IGNORECASE)
_QUOTES = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\"'`"
_SCHEME = re.compile(r"([a-z]{3,5})(?::/*|//)(?=[^/])", re.IGNORECASE)
_HOST = re.compile(r"(?:[^@/\s]*@)?(?:\d{1,3}(?:\.\d{1,3}){3}|localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)*"
                   r"(?:\.(?:local|lan|home|internal|fritz\.box|com|net|org)|(?=:\d)))(?::\d+)?(?:/.*)?", re.IGNORECASE)
_WORDS = {"auto": "auto", "automatic": "auto", "picamera2": "picamera2", "picamera": "picamera2", "picam": "picamera2",
          "picamera3": "picamera2", "libcamera": "picamera2", "rpicam": "picamera2", "csi": "picamera2",
          "synthetic": "synthetic", "demo": "synthetic", "usb": "auto", "webcam": "auto", "camera": "auto"}


def missing(path: str) -> str:
    """Return what is wrong with a source that names no file, and what may be meant."""
    return f"{shown(path)}: no such file or folder; {hint(path)}"


def hint(source: str) -> str:
    """Return the question whether another source is meant, or what a source looks like if nothing comes near."""
    plain = source.strip().strip(_QUOTES).strip()
    number = _NUMBER.fullmatch(plain)
    if number:
        return f"is /dev/video{number[1]} meant?"
    if plain.lower() in _WORDS:
        return f"is {_WORDS[plain.lower()]} meant?"
    if plain != source and plain:
        return f"is {shown(plain)} meant, without quotes?"
    scheme = _SCHEME.match(plain)
    if scheme and scheme[1].lower() in ("rtsp", "rtsps", "http", "https", "rtmp", "file"):
        return f"is {scheme[1].lower()}://… meant?"
    if _HOST.fullmatch(plain):
        return "is rtsp://… or http://… meant, with the host behind it?"
    return "expected a video file, a folder of images, or a URL such as rtsp://…"
