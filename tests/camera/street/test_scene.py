"""The drawn street: seed and frame number decide each frame, and the truth is right."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.camera.street import objects
from vedette.camera.street.actors import LEAST_PX, any_actors
from vedette.camera.street.backdrop import MODEL_SIDE, any_street, demo_street
from vedette.camera.street.light import Light, expose, light_at, noise_tile
from vedette.camera.street.objects import Kind
from vedette.camera.street.scene import LEAST_VISIBLE, Scene, TruthBox
from vedette.camera.street.sprite import paste

KINDS = (objects.PERSON, objects.RIDER, objects.BICYCLE, objects.CAR, objects.DOG, objects.PARCEL, objects.CONE)
FEWER = settings(max_examples=settings().max_examples // 4)      # one example draws whole frames
DIGEST = """
import hashlib, numpy as np
from vedette.camera.street.scene import Scene
out = np.empty((120, 160, 3), np.uint8)
digest = hashlib.sha256()
for hard in (False, True):
    scene = Scene(3, 160, 120, 25, hard=hard)
    for number in (70, 3, 71):
        digest.update(repr(scene.render(number, out)).encode() + out.tobytes())
print(digest.hexdigest())
"""


def rendered(scene: Scene, number: int, width: int, height: int) -> tuple[np.ndarray, tuple[TruthBox, ...]]:
    out = np.empty((height, width, 3), np.uint8)
    return out, scene.render(number, out)


def test_a_frame_is_the_same_in_every_process_and_order() -> None:
    """Pixels and truth of a frame depend only on seed and frame number, not on the process or earlier frames."""
    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()
    digest = hashlib.sha256()
    for hard in (False, True):
        frames = {number: rendered(Scene(3, 160, 120, 25, hard=hard), number, 160, 120) for number in (3, 71, 70)}
        for number in (70, 3, 71):
            out, truth = frames[number]
            digest.update(repr(truth).encode() + out.tobytes())
    assert digest.hexdigest() == other


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_what_a_scene_keeps_changes_no_frame(hard: bool) -> None:
    """A scene that has drawn for a minute draws the same frame as a new one, though it keeps sprites and drawings."""
    scene = Scene(7, 320, 180, 30, hard=hard)
    for number in range(1000, 2800, 90 if hard else 4):
        out, truth = rendered(scene, number, 320, 180)
        if number % 40 == 0:
            again, same = rendered(Scene(7, 320, 180, 30, hard=hard), number, 320, 180)
            assert truth == same
            assert (out == again).all()


@given(seed=st.integers(0, 2**31), number=st.integers(0, 10**9), hard=st.booleans())
@FEWER
def test_truth_lies_in_the_frame_and_can_be_seen(seed: int, number: int, hard: bool) -> None:
    """Every truth box is inside the frame, large enough for the model's input, visible, and of a known label."""
    _, truth = rendered(Scene(seed, 240, 160, 30, hard=hard), number, 240, 160)
    for thing in truth:
        box = thing.box
        assert 0 <= box.xmin < box.xmax <= 1
        assert 0 <= box.ymin < box.ymax <= 1
        width, height = (box.xmax - box.xmin) * 240, (box.ymax - box.ymin) * 160
        assert (width * height) ** 0.5 >= LEAST_PX * 240 / MODEL_SIDE
        assert LEAST_VISIBLE <= thing.visible <= 1
        assert objects.LABELS[thing.class_id] == thing.label


@pytest.mark.slow
@given(st.integers(0, 10**6))
@FEWER
def test_one_seed_is_one_street_at_every_size(number: int) -> None:
    """Twice the pixels show the same things in the same positions. Things that are barely visible may differ."""
    small = rendered(Scene(9, 320, 180, 30), number, 320, 180)[1]
    large = rendered(Scene(9, 640, 360, 30), number, 640, 360)[1]
    clear = [thing for thing in small if thing.visible > 0.6 and thing.box.ymax - thing.box.ymin > 0.1]
    near = [thing for thing in clear if any(
        thing.label == other.label and max(abs(a - b) for a, b in zip(thing.box, other.box, strict=True)) < 0.02
        for other in large)]
    assert len(near) >= 0.8 * len(clear)


def test_the_demo_moves_smoothly_and_the_hard_scenes_do_not() -> None:
    """From one frame to the next a demo frame changes little, a hard one wholly."""
    for hard in (False, True):
        scene = Scene(4, 160, 120, 30, hard=hard)
        before, after = (rendered(scene, number, 160, 120)[0].astype(int) for number in (100, 101))
        change = np.abs(before - after).mean()
        assert change > 20 if hard else change < 20


def test_every_label_is_visible_in_demo_and_hard_scenes() -> None:
    """A minute of the demo, and a hundred hard scenes, show every label."""
    demo, hard = Scene(6, 160, 90, 30), Scene(6, 96, 96, 30, hard=True)
    for scene, numbers, size in ((demo, range(0, 1800, 60), (160, 90)), (hard, range(100), (96, 96))):
        seen = {thing.label for number in numbers for thing in rendered(scene, number, *size)[1]}
        assert seen == set(objects.LABELS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.draw.__name__)
def test_a_thing_leaves_its_pixels_where_its_mask_says(kind: Kind) -> None:
    """A sprite changes the frame in its mask and nowhere outside its coverage."""
    sprite = objects.draw(kind, 77, 3, 64.0).at_scale(40.0, mirrored=True, blur_px=0)
    rows, columns = sprite.alpha.shape
    frame = np.full((rows + 20, columns + 20, 3), (200, 30, 160), np.uint8)
    ids = np.zeros(frame.shape[:2], np.uint8)
    size = paste(frame, ids, sprite, 10, 10, 5)
    changed = (frame != (200, 30, 160)).any(-1)
    assert size == (ids == 5).sum() > 100
    assert changed[ids == 5].mean() > 0.97
    outside = np.ones_like(changed)
    outside[10:-10, 10:-10] = sprite.alpha == 0
    assert not changed[outside].any()


def test_a_thing_half_out_of_the_frame_counts_whole() -> None:
    """Pixels outside the frame count as hidden, so a thing half outside is half visible."""
    sprite = objects.draw(objects.PARCEL, 1, 0, 64.0)
    frame, ids = np.zeros((200, 200, 3), np.uint8), np.zeros((200, 200), np.uint8)
    whole = paste(frame, ids, sprite, 50, 50, 1)
    assert paste(frame, ids, sprite, -sprite.alpha.shape[1] // 2, 50, 2) == whole
    assert 0.3 < (ids == 2).sum() / whole < 0.7
    assert paste(frame, ids, sprite, 500, 500, 3) == whole
    assert not (ids == 3).any()


@given(st.integers(0, 10**9))
@FEWER
def test_what_stands_lower_is_larger(seed: int) -> None:
    """Scale and row are inverse functions, and grow together."""
    rng = np.random.default_rng(seed)
    for ground in (demo_street(rng, 320, 180).ground, any_street(rng, 96, 96).ground):
        rows = [ground.between(share) for share in (0.0, 0.5, 1.0)]
        scales = [ground.scale(row) for row in rows]
        assert scales == sorted(scales)
        assert [ground.row(scale) for scale in scales] == pytest.approx(rows)
        assert all(actor.scale > 0 for actor in any_actors(rng, ground) if actor.kind.label)


def test_the_day_is_brighter_than_the_night() -> None:
    """Noon is bright, midnight dark with lamps and more noise; the light never goes out."""
    tile = noise_tile(64, 64)
    means = {}
    for hour in (0, 6, 12, 18):
        frame = np.full((64, 64, 3), 128, np.uint8)
        expose(frame, light_at(hour, ()), tile, np.random.default_rng(0), 1.0)
        means[hour] = frame.mean()
    assert means[12] > 100 > 60 > means[0] > 20
    assert light_at(0, ()).lamp_gain > light_at(12, ()).lamp_gain == 0
    assert light_at(0, ()).noise > light_at(12, ()).noise


def test_fog_takes_contrast_and_blur_takes_edges() -> None:
    """Fog reduces the range of a frame, blur reduces the step at an edge."""
    def exposed(**light: Any) -> np.ndarray:
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[:, 32:] = 200
        expose(frame, Light((1.0, 1.0, 1.0), (0.0, 0.0), noise=0.0, **light), noise_tile(64, 64),
               np.random.default_rng(0), 1.0)
        return frame.astype(int)
    clear, fog, blur = exposed(), exposed(fog=0.4), exposed(blur_px=1.5)
    assert np.ptp(fog) < 0.7 * np.ptp(clear)
    assert np.abs(np.diff(blur, axis=1)).max() < 0.5 * np.abs(np.diff(clear, axis=1)).max()


def test_a_thing_has_one_id_for_as_long_as_it_is_there() -> None:
    """No id twice in a frame; between two frames, what keeps its id keeps its label and moves a little at most."""
    scene = Scene(8, 320, 180, 5)
    before: dict[str, TruthBox] = {}
    ids: set[str] = set()
    for number in range(60):
        truth = rendered(scene, number, 320, 180)[1]
        now = {thing.id: thing for thing in truth}
        assert len(now) == len(truth)
        for ident in now.keys() & before.keys():
            assert now[ident].label == before[ident].label
            assert abs(now[ident].box.xmin - before[ident].box.xmin) < 0.25
        ids |= now.keys()
        before = now
    assert len(ids) > len(before)


def test_a_quiet_street_is_empty_for_minutes() -> None:
    """Within ten minutes something passes, for minutes nothing does, and what passes does not come all at once."""
    scene = Scene(8, 160, 90, 1, quiet=True)
    seen = [bool(rendered(scene, number, 160, 90)[1]) for number in range(600)]
    assert 5 < sum(seen) < 60
    assert "0" * 180 in "".join("01"[each] for each in seen)


def test_the_light_of_an_hour_lasts() -> None:
    """A day goes by in three minutes, unless an hour is given."""
    def light(hour: float | None) -> list[float]:
        scene = Scene(8, 160, 90, 1, quiet=True, hour=hour)
        return [float(rendered(scene, second, 160, 90)[0].mean()) for second in (0, 45, 90, 135)]
    noon, night, day = light(12), light(0), light(None)
    assert max(noon) - min(noon) < 1
    assert max(night) - min(night) < 1
    assert min(noon) > max(night) + 20
    assert max(day) - min(day) > 20
