"""The effective configuration as text, config.yaml, docs/config.md, and what a reload may change."""

import re
from pathlib import Path

import pytest

from tests.support.plain_english import long_sentences
from vedette.config.keys import keys, value_at
from vedette.config.load import load, read
from vedette.config.models import Config
from vedette.config.reload import live_part, restart_keys
from vedette.config.render import example, plain, reference, render

ROOT = Path(__file__).parents[2]


def test_the_shipped_file_equals_the_defaults() -> None:
    """config.yaml parses to what is built in."""
    assert load(ROOT / "config.yaml", environ={}) == Config()


def test_the_shipped_file_has_every_key() -> None:
    """Deleting a line of config.yaml changes nothing, since each key stands there."""
    places = read(ROOT / "config.yaml", environ={}).places
    assert [key.name for key in keys() if len(key.path) < 3 and key.name not in places] == []


@pytest.mark.parametrize(("path", "written"), [("config.yaml", example), ("docs/config.md", reference)])
def test_documents_are_in_step_with_the_models(path: str, written: object) -> None:
    """`make docs` has nothing to change."""
    assert callable(written)
    assert (ROOT / path).read_text(encoding="utf-8") == written()


def test_every_key_says_what_it_is_and_when_it_applies() -> None:
    """No key is without a meaning; each applies after a reload or a restart, and says so in short sentences."""
    assert all(key.meaning and key.applies in ("live", "restart") for key in keys())
    assert [key.name for key in keys() if long_sentences(key.meaning)] == []


def test_pages_have_every_key_and_short_lines() -> None:
    """Each key is one list item of docs/config.md; no line of it or of config.yaml is longer than 120 columns."""
    page = reference()
    assert re.findall(r"^- \*\*`([a-z0-9_.]+)`\*\* ", page, re.MULTILINE) == [
        *(key.name for key in keys() if len(key.path) == 1), *(key.name for key in keys() if len(key.path) > 1)]
    assert [line for line in (page + example()).splitlines() if len(line) > 120] == []


def test_rendered_text_reads_back_as_the_same_configuration(tmp_path: Path) -> None:
    """What check-config prints can be used as a file."""
    (tmp_path / "labels.txt").write_text("x")
    given = tmp_path / "given.yaml"
    given.write_text("device: gate-01\ncamera: {source: 'on', fps: 7.5, roi: [0, 0, 0.5, 1], "
                     "masks: [[[0, 0], [1, 1], [0, 1]]]}\ndetector: {labels: {'on': 0.5, 'é: x': 0.1}, "
                     "labels_file: labels.txt}\nmqtt: {tls: {}, protocol: '3.1.1', username: '# no'}\n"
                     "zones: {'a: b, [c': {points: [[0, 0], [1, 0.1], [0, 1]], labels: ['on', '{'], loiter_s: 3}}\n"
                     "lines: {'null': {from: [0, 0], to: [0.5, 1]}}\n"
                     "events: {minimum: {'1': {score: 0.5}}, pictures: ['off'], clips: {folder: '/a, b'}}\n")
    loaded = read(given, environ={})
    printed = tmp_path / "printed.yaml"
    printed.write_text(render(loaded.config, loaded.places))
    assert load(printed, environ={}) == loaded.config


def test_rendered_text_shows_places_and_masks_credentials() -> None:
    """Each line has its place; a token in a URL shows as asterisks."""
    loaded = read(None, environ={"VEDETTE_CAMERA__SOURCE": "http://me@cam/?q=1&loginname=hunter2"})
    text = render(loaded.config, loaded.places)
    assert "  source: http://***@cam/?q=1&loginname=***" in text
    assert "# VEDETTE_CAMERA__SOURCE" in text
    assert "hunter2" not in text + str(plain(loaded.config))


def test_a_reload_changes_live_keys_only() -> None:
    """The running configuration takes the live part; the rest is named as waiting for a restart."""
    old = Config()
    new = load(None, environ={"VEDETTE_DETECTOR__SCORE_THRESHOLD": "0.7", "VEDETTE_CAMERA__FPS": "3",
                              "VEDETTE_DEVICE": "gate", "VEDETTE_MQTT__TLS": "{}"})
    assert restart_keys(old, new) == ("device", "camera.fps", "mqtt.tls")
    mixed = live_part(old, new)
    assert mixed.detector.score_threshold == 0.7
    assert restart_keys(old, mixed) == ()
    assert restart_keys(mixed, new) == restart_keys(old, new)
    assert live_part(old, old) == old


def test_values_are_found_by_key() -> None:
    """Below a section that is null every key is null."""
    assert value_at(Config(), ("camera", "fps")) == 15
    assert value_at(Config(), ("mqtt", "tls", "ca_file")) is None


def test_permitted_values_are_listed_where_the_type_lists_them() -> None:
    """An enumerated key ends with its values in both files; a list of enumerated items too; other keys have none."""
    flat = " ".join(reference().split())
    for sentence in ("One of `auto`, `litert`, `tflite-runtime`.", "One of `letterbox`, `stretch`.",
                     "One of `5`, `3.1.1`.", "One of `0`, `90`, `180`, `270`.", "Any of `update`, `rollback`,"):
        assert sentence in flat
    assert {key.name for key in keys() if key.choices} == {
        "camera.rotate", "camera.decode", "detector.runtime", "detector.decoder", "detector.color", "detector.resize",
        "publish.results", "mqtt.protocol", "commands.allow", "page.allow", "cloud.dialect", "update.configuration",
        "health.baseline"}
    assert "One of rgb, bgr." in example()
