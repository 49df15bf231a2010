"""`zones`, `lines` and `events.pictures`: what they read, and what a mistake in them is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vedette.config.load import load
from vedette.config.models import Config
from vedette.config.reload import live_part, restart_keys
from vedette.config.scene import ZoneConfig
from vedette.errors import ConfigError

DRIVE = "zones: {drive: {points: [[0, 0.5], [1, 0.5], [1, 1]]"
GATE = "lines: {gate: {from: [0, 0.6], to: [1, 0.6]"
Load = Callable[[str], Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def of(text: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ={})
    return of


def test_zones_and_lines_are_read_in_their_order(loaded: Load) -> None:
    """Names are text, whatever they look like; what is not stated has its default."""
    config = loaded("zones:\n  yard, à gauche: {points: [[0, 0], [1, 0], [0.5, 1]], loiter_s: 30, labels: [person]}\n"
                    "  2: {points: [[0, 0], [1, 0], [0.5, 1], [0.2, 0.2]]}\n"
                    "lines:\n  drive/in:\n    from: [0, 0.6]\n    to: [1, 0.6]\n")
    assert list(config.zones) == ["yard, à gauche", "2"]
    corners = ((0, 0), (1, 0), (0.5, 1))
    assert list(config.zones.values()) == [ZoneConfig(points=corners, labels=("person",), loiter_s=30),
                                           ZoneConfig(points=(*corners, (0.2, 0.2)))]
    assert (config.lines["drive/in"].start, config.lines["drive/in"].end) == ((0, 0.6), (1, 0.6))


def test_zones_that_are_commented_out_are_none(loaded: Load) -> None:
    """As in a section of which all keys are commented out."""
    config = loaded("zones:\n  # drive: {points: …}\nlines:\n")
    assert (config.zones, config.lines) == ({}, {})


@pytest.mark.parametrize(("text", "said"), [
    (f"{DRIVE}, label: [car]}}}}", "1: zones.drive.label: unknown key; did you mean labels?"),
    ("zones:\n  drive:\n    points: [[0, 0], [640, 480], [1, 1]]",
     ("3: zones.drive.points[1][0]: expected a number less than or equal to 1, saw 640 "
      "(Polygon of [x, y] in 0-1 of the frame)")),
    ("zones: {drive: {points: [[0, 0], [0.5, 0.5], [1, 1]]}}",
     "1: zones.drive.points: expected a polygon with an inside; its points are all on a line, saw "),
    ("zones: {drive: {points: [[0, 0], [1, 1]]}}", "1: zones.drive.points: expected more items in this list, saw "),
    ("zones: {drive: {points: [[0, 0], [1], [1, 1]]}}",
     "1: zones.drive.points[1][1]: expected one more item in this list, saw [1]"),
    ("zones:\n  drive: {loiter_s: 3}",
     "2: zones.drive.points: expected a value, since it has no default (Polygon of [x, y] in 0-1 of the frame)"),
    (f"{DRIVE}, loiter_s: 0}}}}", "1: zones.drive.loiter_s: expected a number greater than 0, saw 0"),
    (f"{DRIVE}, hold_s: -1}}}}", "1: zones.drive.hold_s: expected a number greater than or equal to 0, saw -1"),
    (f"{DRIVE}, labels: car}}}}", '1: zones.drive.labels: expected a list, saw "car"'),
    (f"{DRIVE}, labels: ['']}}}}", "1: zones.drive.labels[0]: expected text that is not empty"),
    (f"{DRIVE}}}, drive: {{}}}}", "1: zones.drive: duplicate key; first on line 1"),
    ("zones: {drive: [[0, 0], [1, 0], [1, 1]]}", "1: zones.drive: expected a section of keys and values, saw [["),
    ("zones: [drive]", '1: zones: expected keys and values, saw ["drive"]'),
    ("zones:\n  '': {points: [[0, 0], [1, 0], [1, 1]]}",
     '2: zones."": expected a name that is not empty, saw ""'),
    (f"zones:\n  {'x' * 65}: {{points: [[0, 0], [1, 0], [1, 1]]}}",
     f"2: zones.{'x' * 65}: expected a name of at most 64 characters, saw"),
    ('zones:\n  "a\\nb": {points: [[0, 0], [1, 0], [1, 1]]}', "2: zones: a key must be one line of text"),
    ("lines:\n  gate: {from: [0, 0.5], to: [0, 0.5]}",
     '2: lines.gate: expected two points that differ, saw {"from": [0, 0.5], "to": [0, 0.5]}'),
    ("lines: {gate: {from: [0, 0.5]}}", "1: lines.gate.to: expected a value, since it has no default (The other end)"),
    ("lines: {gate: {start: [0, 0.5], end: [1, 0.5]}}", "1: lines.gate.start: unknown key"),
    ("lines: {gate: {form: [0, 0.5], to: [1, 0.5]}}", "1: lines.gate.form: unknown key; did you mean from?"),
    (f"{GATE}, loiter_s: 3}}}}", "1: lines.gate.loiter_s: unknown key"),
    ("lines: {gate: {from: [0, 0.5, 1], to: [1, 0.5]}}", "1: lines.gate.from: expected fewer items in this list"),
    ("lines: {gate: {from: 0.5, to: [1, 0.5]}}", "1: lines.gate.from: expected a list, saw 0.5"),
    ('lines: {"a\\tb": {from: [0, 0.5], to: [1, 0.5]}}', "1: lines: a key must be one line of text"),
    ("events: {pictures: often}", '1: events.pictures: expected off, on or a list of labels, saw "often"'),
    ("events: {pictures: [1]}", "1: events.pictures: expected off, on or a list of labels, saw [1]"),
    ("events: {pictures: ['']}", "1: events.pictures: expected off, on or a list of labels, saw"),
    ("events: {minimum: {person: {scores: 0.5}}}", "1: events.minimum.person.scores: unknown key; did you mean score?"),
])
def test_a_mistake_is_told_with_its_place(loaded: Load, text: str, said: str) -> None:
    """The line, the key with the name of the zone or line, what was expected, and the key that may be meant."""
    with pytest.raises(ConfigError) as caught:
        loaded(text + "\n")
    told = [problem.rpartition("config.yaml:")[2] for problem in caught.value.problems]
    assert any(problem.startswith(said) for problem in told), told


@pytest.mark.parametrize(("text", "value"), [
    ("on", True), ("off", False), ("true", True), ("false", False), ("'on'", True), ('"off"', False),
    ("[]", ()), ("[person, car]", ("person", "car"))])
def test_pictures_are_on_off_or_for_some_labels(loaded: Load, text: str, value: object) -> None:
    """As the documents write it: in the file, and in a variable."""
    assert loaded(f"events: {{pictures: {text}}}").events.pictures == value
    assert load(None, environ={"VEDETTE_EVENTS__PICTURES": text}).events.pictures == value


def test_a_reload_applies_zones_and_lines(loaded: Load) -> None:
    """Both are live keys, as a whole."""
    old, new = Config(), loaded(f"{DRIVE}}}}}\n{GATE}}}}}\n")
    assert restart_keys(old, new) == ()
    assert (live_part(old, new).zones, live_part(old, new).lines) == (new.zones, new.lines)
