"""The counts of a rollout in Prometheus' text format."""

from __future__ import annotations

from tests.fleet.test_rolls import RECORD
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
