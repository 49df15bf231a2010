"""Keys are changed in the text of a configuration, and nothing else of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.config.changes import changed
from vedette.config.document import parse
from vedette.config.edit import edited, values_of
from vedette.config.load import load
from vedette.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8")
BLOCK = """\
# Mine.
device: gate   # by the road

camera:   # the old one
    source: synthetic
    # Nobody may see the yard.
    masks:   # two
      # the pond
      - [[0, 0], [1, 0], [1, 1]]
      - [[0, 0], [0, 1],
         [1, 1]]   # odd
    fps: 5
detector:
  # score_threshold: 0.4
zones:  # ours
  drive:
    points: [[0, 0], [1, 0], [1, 1]]
    hold_s: 3   # longer than usual

# The end.
mqtt: {host: broker, port: 1883}
"""


@pytest.mark.parametrize(("changes", "before", "after"), [
    ("device: yard", "device: gate   # by", "device: yard   # by"),
    ("camera: {fps: 7.5}", "    fps: 5\n", "    fps: 7.5\n"),
    ("camera: {source: /dev/video0}", "source: synthetic", "source: /dev/video0"),
    ("camera: {masks: []}", """    masks:   # two
      # the pond
      - [[0, 0], [1, 0], [1, 1]]
      - [[0, 0], [0, 1],
         [1, 1]]   # odd
""", "    masks: []   # two\n"),
    ("camera: {width: 640}", "camera:   # the old one\n", "camera:   # the old one\n    width: 640\n"),
    ("camera:\n  width: 640\n  height: 360\n  fps: 5", "camera:   # the old one\n",
     "camera:   # the old one\n    width: 640\n    height: 360\n"),
    ("detector: {score_threshold: 0.00002}", "detector:\n", "detector:\n  score_threshold: 0.00002\n"),
    ("zones: {}", """zones:  # ours
  drive:
    points: [[0, 0], [1, 0], [1, 1]]
    hold_s: 3   # longer than usual
""", "zones: {}  # ours\n"),
    ("zones: {'a: b': {points: [[0, 0], [1, 0], [1, 1]]}, 'on': {points: [[0, 0], [1, 0], [1, 1]], labels: ['no']}}",
     """  drive:
    points: [[0, 0], [1, 0], [1, 1]]
    hold_s: 3   # longer than usual
""", """  "a: b": {points: [[0, 0], [1, 0], [1, 1]]}
  "on": {points: [[0, 0], [1, 0], [1, 1]], labels: ["no"]}
"""),
    ("lines: {gate: {from: [0, 0], to: [1, 1]}}", "port: 1883}\n",
     "port: 1883}\nlines:\n  gate: {from: [0, 0], to: [1, 1]}\n"),
    ("events: {labels: [car], keep_s: 4}", "port: 1883}\n", 'port: 1883}\nevents:\n  labels: ["car"]\n  keep_s: 4\n'),
    ("mqtt: {port: 8883, tls: {}}", "mqtt: {host: broker, port: 1883}", 'mqtt: {host: "broker", port: 8883, tls: {}}'),
    ("mqtt: {host: broker}\nzones: {drive: {points: [[0, 0], [1, 0], [1, 1]], hold_s: 3}}", "", ""),
])
@pytest.mark.parametrize("ends", ["", "\n\n# Really.\n"])
def test_only_the_key_changes(changes: str, before: str, after: str, ends: str) -> None:
    """Comments, blank lines, order and style of all others stay as they are."""
    assert BLOCK.count(before) == 1 or not before
    wanted = BLOCK.replace(before, after)
    if before.startswith("port"):      # a section that was not there comes last
        assert edited(BLOCK + ends, values_of(changes)) == BLOCK + ends + after.removeprefix(before)
    else:
        assert edited(BLOCK + ends, values_of(changes)) == wanted + ends


@pytest.mark.parametrize(("text", "wanted"), [
    ("", "device: gate\nzones:\n  a: {hold_s: 1}\n"),
    ("# nothing yet", "# nothing yet\ndevice: gate\nzones:\n  a: {hold_s: 1}\n"),
    ("zones:", "zones:\n  a: {hold_s: 1}\ndevice: gate\n"),
    ("zones: ~ # none\ndevice:  # name\n", "zones: # none\n  a: {hold_s: 1}\ndevice: gate  # name\n"),
    ("---\nzones: {\n  b: {}}\n'device': |\n  yard\n", "---\nzones:\n  a: {hold_s: 1}\n'device': gate\n"),
    ("  device: >-\n    yard\n\n  # x\n  zones: {}", "  device: gate\n\n  # x\n  zones:\n    a: {hold_s: 1}"),
    ("device: yard\r\nzones: {}\r\n", "device: gate\r\nzones:\r\n  a: {hold_s: 1}\r\n"),
])
def test_odd_files(text: str, wanted: str) -> None:
    """Empty files, keys without a value, other indentation, block texts, line ends of Windows."""
    after = edited(text, values_of("device: gate\nzones: {a: {hold_s: 1}}"))
    assert after.replace("\r", "").replace('"gate"', "gate").replace(" \n", "\n") == wanted.replace("\r", "")
    assert after.count("\r\n") == text.count("\r\n")


@pytest.mark.parametrize("text", ["{device: yard}", "device: yard\n...\n", "? device\n: yard\n"])
def test_a_file_of_another_form_is_refused(text: str) -> None:
    """It is never written as something else than what was meant."""
    with pytest.raises(ConfigError, match="zones: cannot be changed in this form of file"):
        edited(text, {"device": "gate", "zones": {}})


def test_a_whole_file_changes_only_what_differs() -> None:
    """The file with every key and its default changes nothing of itself."""
    assert edited(EXAMPLE, values_of(EXAMPLE)) == EXAMPLE
    after = edited(EXAMPLE, values_of(EXAMPLE.replace("  fps: 15\n", "  fps: 14\n")))
    assert after == EXAMPLE.replace("  fps: 15\n", "  fps: 14\n")


NAMES = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-10**9, 10**9) | st.floats(-1e6, 1e6) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.sampled_from([EXAMPLE, BLOCK, "", "zones: {x: 1}\ndetector: {labels: {}}\n"]), VALUES, VALUES)
def test_any_value_is_written_as_it_was_meant(text: str, first: Any, second: Any) -> None:
    """Whatever the values are, the new text has them, and all others as before."""
    changes = {"detector": {"labels": first, "mean": second}, "zones": {"a": second}, "device": second,
               "lines": {} if first is None else first}
    after = edited(text, changes)
    assert parse(after).problems == parse(text).problems
    assert values_of(after) == changed(values_of(text), changes)


def test_the_example_takes_every_change(tmp_path: Path) -> None:
    """The shipped file can be changed and read."""
    path = tmp_path / "config.yaml"
    path.write_text(edited(EXAMPLE, values_of(BLOCK.replace("detector:\n", "detector: {}\n"))), encoding="utf-8")
    config = load(path, environ={})
    assert (config.device, config.camera.fps, config.zones["drive"].hold_s) == ("gate", 5, 3)
    assert path.read_text(encoding="utf-8").count("#") == EXAMPLE.count("#")
