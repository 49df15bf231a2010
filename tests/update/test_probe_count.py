"""A file that kills the daemon while it is probed or opened is tried three times, not for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemon.update_device import Device, device_in
from tests.support.models import lamps
from tests.support.present import present
from tests.support.waiting.until import wait_until
from vedette.errors import ModelDamaged, ModelUnproven, StateUnusable
from vedette.store.model_store import ModelStore
from vedette.store.probes import DEATHS_MAX, begun, forced, probe_of
from vedette.store.release import ShadowRequirement
from vedette.update.probe_count import ProbeCount

SHA256 = "5" * 64
DIED = "the daemon died 3 times while it probed, compared or opened this model"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "models")
    store.recover()
    return store


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with device_in(tmp_path) as one:
        yield one


def on_disk(store: ModelStore) -> ModelStore:
    """Return the store as the next daemon finds it."""
    again = ModelStore(store.folder)
    again.recover()
    return again


def begin(store: ModelStore, boot_id: str, release: int | None = None) -> None:
    """Begin a probe that never ends."""
    store.change(store.state.with_probes(begun(store.state.probes, SHA256, boot_id, release)))


def test_a_probe_is_on_disk_before_it_begins_and_closed_however_it_ends(store: ModelStore) -> None:
    """A time-out is no death."""
    def probe() -> None:
        with ProbeCount(store, "boot").counted(SHA256):
            assert probe_of(on_disk(store).state.probes, SHA256).open_boot == "boot"
            raise ModelUnproven("took longer than 30 s")
    with pytest.raises(ModelUnproven):
        probe()
    assert on_disk(store).state.probes == ()


def test_the_fourth_probe_is_refused_and_says_why(store: ModelStore) -> None:
    """Three deaths in the same boot; the next daemons refuse until a higher release or another request by force."""
    for _ in range(DEATHS_MAX):
        begin(store, "boot", 7)
    store = on_disk(store)
    count = ProbeCount(store, "boot")
    for _ in range(2):
        with pytest.raises(ModelDamaged, match=DIED), count.counted(SHA256, 7):
            raise AssertionError("it must not begin")
    assert present(count.refusal(SHA256)).endswith("until a higher release, or until --force")
    assert count.refusal(SHA256, 8) is None
    store.change(store.state.with_probes(forced(store.state.probes, SHA256, "request")))
    with count.counted(SHA256, 7):
        pass


def test_power_cuts_are_no_deaths(store: ModelStore) -> None:
    """Each boot has another id."""
    for boot in "12345":
        begin(store, boot)
    assert ProbeCount(store, "6").refusal(SHA256) is None


def test_an_install_of_what_is_in_shadow_is_no_death(store: ModelStore) -> None:
    """Both work on the same file in one daemon, and the shadow stays counted."""
    count = ProbeCount(store, "boot")
    with count.counted(SHA256):
        for _ in range(DEATHS_MAX):
            with count.counted(SHA256):
                pass
        assert probe_of(on_disk(store).state.probes, SHA256).open_boot == "boot"
    assert on_disk(store).state.probes == ()


def test_what_cannot_be_counted_does_not_begin(tmp_path: Path) -> None:
    """A disk that takes nothing ends the step before the file is touched."""
    (tmp_path / "models").write_text("no folder")
    with pytest.raises(StateUnusable), ProbeCount(ModelStore(tmp_path / "models"), "boot").counted(SHA256):
        raise AssertionError("it must not begin")


def is_probed(device: Device, sha256: str, deaths: int) -> bool:
    """Whether a daemon is at it, after so many deaths."""
    probe = probe_of(device.state.probes, sha256)
    return (probe.deaths, probe.open_boot is not None) == (deaths, True)


@pytest.mark.daemon
@pytest.mark.parametrize("shadow", [None, ShadowRequirement(frames=10**6, minutes=1000)], ids=["probe", "shadow"])
def test_a_staged_file_that_kills_three_daemons_is_refused(device: Device, tmp_path: Path,
                                                           shadow: ShadowRequirement | None) -> None:
    """In its probe or in shadow: the fourth daemon refuses it, says so in health, and runs on with the model before."""
    device.good(lamps.write(tmp_path, "1"))
    staged = device.staged(lamps.write(tmp_path, "2"), release=2, shadow=shadow)
    for deaths in range(DEATHS_MAX):
        with device.daemon() as daemon:
            if shadow is not None:
                assert device.waits_for_model(state="shadow"), daemon.log
            assert wait_until(partial(is_probed, device, staged.sha256, deaths)), daemon.log
            daemon.signal(signal.SIGKILL)
            assert daemon.ends() == -signal.SIGKILL
    with device.daemon() as daemon:
        assert wait_until(lambda: DIED in (device.reasons().get("update_failed") or "")), daemon.log
        assert device.waits_for_results_of("1"), daemon.log
    assert device.state.candidate is None
    assert [device.state.refuses(staged.sha256, release) for release in (2, 3)] == [True, False]
