"""What the daemons of this machine report, in the text format that Prometheus reads.

Invariants: the values are those of the newest messages; a daemon that does not answer has only `vedette_up`, with 0;
no two samples have the same name and labels. Run `python -m vedette.page.metrics` for docs/metrics.md.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vedette.page.metric_table import METRICS, Metric
from vedette.serve.exposition import Sample, family

if TYPE_CHECKING:
    from vedette.page.device_state import DeviceState

UP = "vedette_up"
UP_MEANING = "1 if the daemon answers on its local socket. Otherwise there are no other samples of it."

_HEAD = f"""\
# Metrics

`make docs` writes this page from `daemon/vedette/page/metric_table.py`; do not edit it.
[prometheus.md](prometheus.md) explains how to collect the metrics.

Every sample has the label `device`, and the labels in brackets. A value that is null or missing in a
[message](topics.md) has no sample. What ends with `_total` is a counter. It begins again with each run of the daemon,
if its text does not say otherwise.

- `{UP}`: {UP_MEANING}
"""
_WIDTH = 120


def exposition(states: Sequence[DeviceState]) -> str:
    """Return all metrics of these daemons. A daemon without a name of its own is named by its socket."""
    named: dict[str, DeviceState] = {}
    for state in states:
        named[str(state.path) if state.device in {"", *named} else state.device] = state
    up = family(UP, "gauge", UP_MEANING,
                (Sample({"device": name}, int(state.reachable)) for name, state in named.items()))
    return up + "".join(family(metric.name, metric.kind, metric.meaning, _samples(metric, named)) for metric in METRICS)


def _samples(metric: Metric, named: dict[str, DeviceState]) -> Iterator[Sample]:
    for name, state in named.items():
        if state.reachable:
            try:
                found = list(metric.reader.read(state.messages))
            except (AttributeError, KeyError, TypeError, ValueError):
                continue        # a message of another shape, which costs only this metric
            for sample in found:
                yield sample._replace(labels={"device": name, **sample.labels})


def document() -> str:
    """Return docs/metrics.md."""
    return _HEAD + "".join(map(_item, METRICS))


def _item(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.reader.labels)
    item = f"- `{metric.name}`{f' ({labels})' if labels else ''}: {metric.meaning}"
    return textwrap.fill(item, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    print(document(), end="")
