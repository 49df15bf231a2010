"""What a daemon runs with, as `info` and the page show it: each value, and where it came from."""

from __future__ import annotations

from pathlib import Path

from vedette.config.effective import ON_PAGE, effective, places_by_key
from vedette.config.keys import keys
from vedette.config.load import Loaded, read
from vedette.config.models import Config
from vedette.config.reload import Reloader
from vedette.config.signed import SIGNED, Signed
from vedette.vision.limits import Limits


def running(loaded: Loaded) -> Reloader:
    return Reloader(loaded, lambda: loaded)


def test_each_value_has_its_place(tmp_path: Path) -> None:
    """One place for each key, also for zones with many values. What has its default has none."""
    path = tmp_path / "config.yaml"
    (tmp_path / "root.json").write_text("{}", encoding="utf-8")
    path.write_text("update: {source: /srv/models, root: root.json}\nzones:\n"
                    "  drive: {points: [[0, 0], [1, 0], [1, 1]]}\ndetector: {labels: {person: 0.6}, deny: [cone]}\n",
                    encoding="utf-8")
    signed = Signed({"detector": {"labels": {"car": 0.7}}, "governor": {"target_c": 57}}, 7, "hot")
    answer = effective(running(read(path, environ={"VEDETTE_HEALTH__INTERVAL_S": "5"}, signed=signed)), None)
    assert answer["places"] == {
        "zones": f"{path}:2", "detector.deny": f"{path}:4", "health.interval_s": "VEDETTE_HEALTH__INTERVAL_S",
        "detector.labels": "signed configuration 7", "governor.target_c": "signed configuration 7"}
    assert answer["config"]["detector"]["labels"] == {"car": 0.7}
    assert answer["config"]["zones"]["drive"]["points"] == [[0, 0], [1, 0], [1, 1]]


def test_it_has_exactly_the_keys_that_can_be_signed() -> None:
    """No other key travels: no address, no login, no path."""
    values = effective(running(Loaded(Config())), None)["config"]
    names = {f"{section}.{name}" if isinstance(below, dict) and section not in ("zones", "lines") else section
             for section, below in values.items() for name in (below or [""])}
    assert names == set(SIGNED)
    assert set(ON_PAGE) <= {key.name for key in keys()}
    assert not any(key.is_path for key in keys() if key.name in ON_PAGE)


def test_a_model_has_thresholds_of_its_own() -> None:
    """Their place is the model, for keys that nobody states."""
    limits = Limits(0.35, 0.5, 100, {}, frozenset(), frozenset())
    answer = effective(running(Loaded(Config())), limits)
    assert answer["config"]["detector"]["score_threshold"] == 0.35
    assert answer["places"] == {"detector.score_threshold": "model"}
    stated = effective(running(read(None, environ={"VEDETTE_DETECTOR__SCORE_THRESHOLD": "0.35"})), limits)
    assert stated["places"] == {"detector.score_threshold": "VEDETTE_DETECTOR__SCORE_THRESHOLD"}


def test_the_first_value_in_a_key_says_where_it_is() -> None:
    """Names of the user's own may have dots and brackets."""
    assert places_by_key({"": "f", "zones": "f:1", "zones.a.b": "f:2", "detector": "f:3", "detector.allow[0]": "f:4",
                          "detector.labels.a[0].b": "f:5", "device": "f:6"}) == {
        "": "f", "zones": "f:1", "detector": "f:3", "detector.allow": "f:4", "detector.labels": "f:5", "device": "f:6"}
