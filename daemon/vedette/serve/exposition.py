"""Prometheus' text format, version 0.0.4: one family of metrics as its lines.

Invariants: a family without samples has no lines; whatever a label's value contains, it stays in its quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram"]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Sample(NamedTuple):
    """One value of a family. `suffix`: what comes after the family's name, `_bucket` for example."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


def family(name: str, kind: Kind, meaning: str, samples: Iterable[Sample]) -> str:
    """Return the lines of a family. `meaning` must have neither backslashes nor line ends."""
    lines = [f"{name}{sample.suffix}{_labels(sample.labels)} {sample.value}\n" for sample in samples]
    return "".join((f"# HELP {name} {meaning}\n", f"# TYPE {name} {kind}\n", *lines)) if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""
