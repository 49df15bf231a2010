"""The counts of a rollout in Prometheus' text format."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.fleet.test_rolls import RECORD
from vedette.cli.fleet.roll import METRICS_EVERY_S, Audience
from vedette.fleet.outcomes import Tally
from vedette.fleet.roll_metrics import metrics


def test_every_count_has_its_release() -> None:
    """Each metric has a type; a code that a device has made up breaks no line."""
    lines = metrics(RECORD, Tally(10, 4, 1, {"blind": 2, 'a"\\\n': 1}, 1, 1)).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'vedette_rollout_expected{release="7"} 10', 'vedette_rollout_good{release="7"} 4',
        'vedette_rollout_trial{release="7"} 1', 'vedette_rollout_silent{release="7"} 1',
        'vedette_rollout_waiting{release="7"} 1', 'vedette_rollout_failed{release="7",code="blind"} 2',
        'vedette_rollout_failed{release="7",code="a\\"\\\\\\n"} 1', 'vedette_rollout_step{release="7"} 2',
        'vedette_rollout_share{release="7"} 0.1', 'vedette_rollout_state{release="7",state="rolling"} 1',
        *(f'vedette_rollout_state{{release="7",state="{other}"}} 0'
          for other in ("asking", "stopping", "stopped", "done", "ended"))]
    assert sum(line.startswith("# TYPE") for line in lines) == 9


def test_the_file_is_never_old(tmp_path: Path) -> None:
    """It is written again without a change, but not at each look: its age shows whether anybody watches."""
    file, now_s = tmp_path / "roll.prom", [0.0]
    audience = Audience(argparse.Namespace(json=False, metrics=file), now_s=lambda: now_s[0])
    written = []
    for now_s[0] in (0, METRICS_EVERY_S - 1, METRICS_EVERY_S + 1):
        audience.counted(RECORD, Tally(2, 1, 0, {}, 0, 1), "")
        written.append(file.exists())
        file.unlink(missing_ok=True)
    audience.counted(RECORD, Tally(2, 2, 0, {}, 0, 0), "")
    assert (written, file.exists()) == ([True, False, True], True)
