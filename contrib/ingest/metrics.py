"""What the program reports to Prometheus, as a file for the textfile collector of node_exporter.

Invariants: free of I/O; each sample has the name of the session, so several programs may report on one machine.
"""

from __future__ import annotations

from collections.abc import Mapping

COUNTERS = {
    "results": "Results that were written.",
    "events": "Messages of events that were written.",
    "repeats": "Messages that were there already.",
    "rejected": "Messages that are no result and no event.",
}
GAUGES = {
    "broker_connected": "Whether the session is connected.",
    "database_connected": "Whether the database answered when it was asked last.",
    "committed_timestamp_seconds": "When messages were written last; 0 before that.",
    "report_timestamp_seconds": "When these values were written.",
}


def text(client_id: str, values: Mapping[str, float]) -> str:
    """Return the content of the file. `values` has one for each name of COUNTERS and GAUGES."""
    label = client_id.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    lines = []
    for meanings, kind, suffix in ((COUNTERS, "counter", "_total"), (GAUGES, "gauge", "")):
        for name, meaning in meanings.items():
            metric = f"vedette_ingest_{name}{suffix}"
            lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} {kind}",
                      f'{metric}{{client="{label}"}} {values[name]}']
    return "\n".join(lines) + "\n"
