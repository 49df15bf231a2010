"""What the section Set-up makes of what a person draws: its modules, run in a real browser.

Each result is held against the daemon's own code: the configuration that reads the YAML and refuses a shape, and the
zones that say which way a thing has crossed a line.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.keys import Keys

import vedette.page
from tests.support.browser.chromium import Chromium, chromium
from tests.support.network.http_server import serving_folder
from vedette.config.document import text_problem
from vedette.config.effective import ON_PAGE, effective
from vedette.config.load import Loaded, load
from vedette.config.models import Config
from vedette.config.reload import Reloader
from vedette.config.scene import LineConfig
from vedette.config.tried import with_tried
from vedette.events.zones import Path as Way
from vedette.events.zones import Places

pytestmark = pytest.mark.slow

NAMES = ["drive", "yes", "On", "y", "null", "~", "", "1", "1.5", "0x1f", "1e3", ".5", "010", "1:30", "-", "- a", "a: b",
         "a:", "a #b", "#", "'q'", '"q"', "back\\slash", " before", "after ", "two  spaces", "zürich", "道路", "😀",
         "@x", "%x", "!x", "&a", "*a", "[x]", "{x}", "?", "a, b", "=", "<<", "2026-01-01", "__proto__", "constructor",
         "x" * 64, "way-1", "a--b", "\ue000"]
LETTERS = "ab1 09-_:#,.[]{}'\"\\&*!|>%@`?~=<é道😀\xa0"
SCENE = Config.model_validate({
    "camera": {"roi": [0.1, 0.2, 0.9, 1], "masks": [[[0, 0], [0.25, 0], [0.3333, 0.123456789]]]},
    "detector": {"score_threshold": 0.45, "labels": {"person": 0.6}, "allow": ["car", "person"]},
    "zones": {"b": {"points": [[0, 0.5], [1, 0.5], [1, 1]], "loiter_s": 30, "labels": ["car"]},
              "a": {"points": [[0, 0], [1, 0], [0.5, 0.5], [0, 1]], "hold_s": 0.25}},
    "lines": {"gate": {"from": [0, 0.6], "to": [1, 0.6]}}})
STAGE = """
    const {Shapes} = await import("./shapes.js");
    const {Stage} = await import("./stage.js");
    await new Promise((onload) => document.head.append(
        Object.assign(document.createElement("link"), {rel: "stylesheet", href: "style.css", onload})));
    document.body.innerHTML = "<div class='setup-frame'></div>";
    window.said = [];
    window.shapes = new Shapes();
    window.stage = new Stage(null, shapes, {onDrawing() {}, announce: (text) => said.push(text)});
    document.querySelector(".setup-frame").style.cssText = "width: 400px; height: 300px; margin: 20px";
    document.querySelector(".setup-frame").append(stage.element);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser at the modules, without a page."""
    with serving_folder(Path(vedette.page.__file__).with_name("static")) as folder, \
            chromium(tmp_path_factory.mktemp("browser")) as browser:
        browser.open(f"{folder.url}login.html")
        yield browser


def read_back(browser: Chromium, folder: Path, sections: object) -> Config:
    """What the configuration makes of the YAML that the page writes."""
    path = folder / "changes.yaml"
    path.write_text(browser.value("return (await import('./yaml.js')).toYaml(JSON.parse(arguments[0]))",
                                  json.dumps(sections)))
    return load(path, environ={})


def test_the_yaml_reads_back_as_the_same_values(browser: Chromium, tmp_path: Path) -> None:
    """Whatever names and numbers there are, and whatever YAML would make of them without quotes."""
    choice = random.Random(13)
    names = {*NAMES, *("".join(choice.choices(LETTERS, k=choice.randint(1, 12))) for _ in range(80))} - {""}
    points = [[0, 0.1234], [1, 0], [0.5, 1e-7]]
    sections = {
        "camera": {"roi": [0.1, 0.2, 0.9, 1], "masks": [points, [*points, [0.25, 0.75]]]},
        "detector": {"score_threshold": 0.55, "labels": dict.fromkeys(sorted(names), 0.125), "deny": sorted(names)},
        "zones": {name: {"points": points, "labels": [name], "loiter_s": 1e-7, "hold_s": 12345.678} for name in names},
        "lines": {name: {"from": [0, 0.6], "to": [0.3333, 1]} for name in names},
    }
    assert read_back(browser, tmp_path, sections) == Config.model_validate_json(json.dumps(sections))
    nothing = {"camera": {"roi": None, "masks": []}, "detector": {"labels": {}, "allow": []}, "zones": {}, "lines": {}}
    assert read_back(browser, tmp_path, nothing) == Config.model_validate_json(json.dumps(nothing))


def test_what_is_drawn_comes_back_as_it_was(browser: Chromium, tmp_path: Path) -> None:
    """Only what a person changed differs, as the file would have it, and the rest stays as it is to the last digit."""
    base = effective(Reloader(Loaded(SCENE), lambda: Loaded(SCENE)), None, ON_PAGE)["config"]
    script = """
        const {differences, shapesOf, triable, withShapes} = await import("./draft.js");
        const {Shapes} = await import("./shapes.js");
        const [base] = arguments, shapes = new Shapes();
        shapes.reset(shapesOf(base));
        const drawn = withShapes(base, shapes.list);
        const zones = Object.fromEntries(Object.entries(drawn.zones).reverse());
        const same = differences(base, {...drawn, zones});
        shapes.remove(shapes.list.find(({name}) => name === "a").id);
        shapes.add("mask", [[0.5, 0.5], [1, 0.5], [1, 1]]);
        const found = differences(base, withShapes(base, shapes.list));
        return [same, found, triable(found)];
    """
    same, found, triable = browser.value(script, base)
    assert same == {}
    assert sorted(found) == ["camera", "zones"]
    assert list(triable) == ["zones"]
    assert with_tried(SCENE, triable).zones == {"b": SCENE.zones["b"]}
    changed = read_back(browser, tmp_path, found)
    assert changed.zones == {"b": SCENE.zones["b"]}
    assert changed.camera.masks == (*SCENE.camera.masks, ((0.5, 0.5), (1, 0.5), (1, 1)))


@pytest.mark.parametrize(("key", "waits"), [("roi", False), ("masks", True)])
def test_only_masks_need_a_restart(browser: Chromium, key: str, waits: bool) -> None:
    """A reload applies a region. Neither can be tried, since both decide what may be seen."""
    assert browser.value("""
        const {hasUntriable, needsRestart, triable} = await import("./draft.js");
        const found = {camera: {[arguments[0]]: []}};
        return [needsRestart(found), hasUntriable(found), triable(found)];
    """, key) == [waits, True, {}]


def test_it_refuses_what_the_configuration_refuses(browser: Chromium) -> None:
    """Shapes of all kinds, many of them wrong: the page has a problem with one if and only if the configuration has."""
    choice = random.Random(7)

    def points(number: int) -> list[list[float]]:
        return [[choice.choice([0, 0.1, 0.2, 0.3, 0.6, 1]) for _ in "xy"] for _ in range(number)]
    shapes: list[dict[str, Any]] = [
        {"kind": kind, "name": "a", "points": points(choice.randint(3, 4) if kind in {"zone", "mask"} else 2),
         "labels": [], "loiter_s": None, "hold_s": 5}
        for kind in ("roi", "mask", "zone", "line") for _ in range(100)]
    whole = {**shapes[-1], "kind": "zone", "points": [[0, 0], [1, 0], [1, 1]]}
    shapes += [{**whole, "name": name} for name in (*NAMES, "x" * 65, "a\nb", "\x7f", "\u2028", "道" * 64, "😀" * 65)]
    shapes += [{**whole, "loiter_s": value} for value in (0, -1, 0.5)]
    shapes += [{**whole, "hold_s": value} for value in (0, -1, 0.5, None)]
    shapes += [{**whole, "points": [[0, 0], [1, 0], *more]} for more in ([], [[1, 1.01]], [[1, -0.1]])]
    refused = browser.value("""
        const {problemsOf} = await import("./geometry.js");
        return arguments[0].map((shape, id) => problemsOf({...shape, id}, [{...shape, id}]));
    """, shapes)
    for shape, problems in zip(shapes, refused, strict=True):
        assert bool(problems) == (not is_valid(shape)), (shape, problems)
    texts = browser.value("return Object.keys((await import('./texts.js')).texts.setup.problems)")
    assert {problem for problems in refused for problem in problems} == {*texts} - {"name_twice"}


def is_valid(shape: dict[str, Any]) -> bool:
    """Whether the configuration takes the shape, as a file or as `try` has it."""
    points, name = shape["points"], shape["name"]
    zone = {"points": points, "loiter_s": shape["loiter_s"], "hold_s": shape["hold_s"]}
    wanted = {"roi": {"camera": {"roi": [*points[0], *points[1]]}}, "mask": {"camera": {"masks": [points]}},
              "zone": {"zones": {name: zone}},
              "line": {"lines": {name: {"from": points[0], "to": points[1]}}}}[shape["kind"]]
    try:
        Config.model_validate_json(json.dumps(wanted), strict=True)
    except ValidationError:
        return False
    return text_problem(name) is None


def test_the_arrow_of_a_line_shows_the_way_in(browser: Chromium) -> None:
    """A thing that goes where it points has crossed the line `in`; the other way round, `out`."""
    choice = random.Random(3)
    lines = [[[choice.uniform(0.2, 0.8), choice.uniform(0.2, 0.8)] for _ in range(2)] for _ in range(50)]
    arrows = browser.value("const {arrow} = await import('./geometry.js');"
                           "return arguments[0].map((line) => arrow(line, 0.1))", lines)
    for (start, end), (middle, tip) in zip(lines, arrows, strict=True):
        places = Places({}, {"gate": LineConfig.model_validate({"from": start, "to": end})})
        behind = [2 * here - there for here, there in zip(middle, tip, strict=True)]
        for way, direction in (((behind, tip), "in"), ((tip, behind), "out")):
            path = Way("car")
            for at_s, (x, y) in enumerate(way):
                path.move(places, (x, y), at_s)
            path.finish(places)
            assert [each.direction for each in path.crossed] == [direction], (start, end)


def test_a_raised_threshold_has_a_preview_and_a_lowered_one_has_none(browser: Chromium) -> None:
    """It counts what would be gone of the own model's boxes, by label, and says where nothing is known."""
    def result(source: str, **scores: list[float | None]) -> dict[str, Any]:
        return {"source": source, "detections": [{"label": label, "score": score} for label in scores
                                                 for score in scores[label]]}
    results = [result("local", car=[0.5, 0.62, 0.9], person=[0.7]), result("cloud", car=[0.1]),
               result("local", car=[0.55], dog=[1, None]), result("motion", motion=[None])]
    running = {"score_threshold": 0.5, "labels": {"person": 0.6}}

    def preview(score_threshold: float, **labels: float) -> Any:
        return browser.value("return (await import('./thresholds.js')).preview(...arguments)", results, running,
                             {"score_threshold": score_threshold, "labels": labels})
    raised = preview(0.62, person=0.6)
    assert [raised[key] for key in ("results", "boxes", "fewer", "lowered")] == [2, 6, 2, False]
    assert {each["label"]: (each["boxes"], each["fewer"], each["lowered"]) for each in raised["labels"]} == {
        "car": (4, 2, False), "dog": (1, 0, False), "person": (1, 0, False)}
    bars = {each["label"]: each["bars"] for each in raised["labels"]}
    assert [at for at, count in enumerate(bars["car"]) if count] == [10, 11, 12, 18]
    assert bars["dog"][-1] == 1
    assert preview(0.45, person=0.6)["lowered"]
    assert [each["label"] for each in preview(0.5, person=0.4)["labels"] if each["lowered"]] == ["person"]
    assert not preview(0.5, person=0.65)["lowered"]


def shapes_in(browser: Chromium) -> dict[str, list[list[float]]]:
    """The points of each shape, by what a person calls it."""
    return {str(title): points for title, points in browser.value(
        "return shapes.list.map((shape) => [shapes.titleOf(shape.id), shape.points])")}


def test_shapes_are_drawn_by_touch(browser: Chromium) -> None:
    """Taps set corners, and one on the first corner ends a zone; a line and the region are one stroke."""
    browser.value(STAGE)
    frame = browser.one("svg")

    def touch(*points: tuple[float, float], stroke: bool = False) -> None:
        finger = PointerInput("touch", "finger")     # type: ignore[no-untyped-call]
        actions = ActionBuilder(browser.driver, mouse=finger, duration=0)
        for number, (x, y) in enumerate(points):
            finger.create_pointer_move(0, round((x - 0.5) * 400), round((y - 0.5) * 300), frame)
            if not stroke or number == 0:
                finger.create_pointer_down()   # type: ignore[no-untyped-call]
            if not stroke or number == len(points) - 1:
                finger.create_pointer_up(0)    # type: ignore[no-untyped-call]
        actions.perform()
    browser.value("stage.draw('zone')")
    touch((0.1, 0.1), (0.5, 0.1), (0.5, 0.6), (0.1, 0.1))
    browser.value("stage.draw('line')")
    touch((0.6, 0.2), (0.7, 0.4), (0.9, 0.8), stroke=True)
    browser.value("stage.draw('roi')")
    touch((0.9, 0.9), (0.05, 0.1), stroke=True)
    browser.value("stage.draw('mask')")
    touch((0.2, 0.2))
    browser.value("stage.cancel()")
    assert shapes_in(browser) == {"Zone zone-1": [[0.1, 0.1], [0.5, 0.1], [0.5, 0.6]],
                                  "Line line-1": [[0.6, 0.2], [0.9, 0.8]], "Region": [[0.05, 0.1], [0.9, 0.9]]}


def test_corners_move_and_go_by_mouse_and_by_keyboard(browser: Chromium) -> None:
    """Each step can be undone, and a whole drag is one step. A shape goes with a corner that it needs."""
    browser.value(STAGE)
    stage = browser.one("svg")
    browser.value("stage.draw('mask')")
    browser.keys(Keys.SPACE, *[Keys.ARROW_LEFT] * 40, Keys.SPACE, *[Keys.ARROW_UP] * 60, Keys.SPACE, Keys.ENTER)
    assert shapes_in(browser) == {"Mask 1": [[0.5, 0.5], [0.3, 0.5], [0.3, 0.2]]}
    browser.drag(stage, [(0.5, 0.5), (0.6, 0.6), (0.7, 0.8)])
    assert shapes_in(browser)["Mask 1"][0] == [0.7, 0.8]
    browser.keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert shapes_in(browser)["Mask 1"][0] == [0.705, 0.805]
    browser.drag(stage, [(0.3, 0.35), (0.2, 0.4)])                          # the middle of an edge
    four = [[0.705, 0.805], [0.3, 0.5], [0.2, 0.4], [0.3, 0.2]]
    assert shapes_in(browser) == {"Mask 1": four}
    browser.keys(Keys.DELETE)
    assert len(shapes_in(browser)["Mask 1"]) == 3
    browser.keys(Keys.DELETE)
    assert shapes_in(browser) == {}
    for left in ({"Mask 1": [four[0], four[1], four[3]]}, {"Mask 1": four},
                 {"Mask 1": [four[0], four[1], four[3]]},
                 {"Mask 1": [[0.7, 0.8], *four[1:2], four[3]]},
                 {"Mask 1": [[0.5, 0.5], *four[1:2], four[3]]}, {}):
        browser.value("shapes.undo()")
        assert shapes_in(browser) == left
    browser.value("stage.draw('zone')")
    browser.keys(Keys.SPACE, Keys.ENTER)
    assert browser.value("return said.at(-1)") == "It has too few corners."
    browser.keys(Keys.ESCAPE)
    assert shapes_in(browser) == {}
