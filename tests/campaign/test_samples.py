"""A few cycles of each long campaign on the whole daemon; `make campaign` runs them at full size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon.as_service import missing
from tests.support.daemon.slow_board import can_be_slow
from tests.support.network import postgres
from tests.support.network.another_host import possible

pytestmark = pytest.mark.daemon

CAMPAIGNS = Path(__file__).parent
UNHURRIED = ("--slack-s", "30")
"""The campaigns check the limits of time; a sample shares its machine with every other test."""


def sample(part: str, state: Path, *args: str, timeout_s: float = 400, code: int = 0) -> dict[str, Any]:
    """Run a campaign with its state in that folder, to that exit code; returns the figures of its last line."""
    done = subprocess.run([sys.executable, CAMPAIGNS / f"{part}.py", "--state", state / "state.json", *args],
                          capture_output=True, text=True, timeout=timeout_s,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_a_property_that_holds_beside_one_that_does_not(tmp_path: Path) -> None:
    """New examples refute a property that claims too much, and only that one is named."""
    properties = tmp_path / "test_properties.py"
    properties.write_text("from hypothesis import given, strategies as st\n"
                          "@given(st.integers(0, 300))\ndef test_too_much(number):\n    assert number != 171\n"
                          "@given(st.integers(0, 300))\ndef test_right(number):\n    assert number < 301\n")
    figures = sample("properties", tmp_path, "--rounds", "1", "--workers", "0", str(CAMPAIGNS.parent / "conftest.py"),
                  str(properties), code=1)
    assert ([name.rpartition("::")[2] for name in figures["failed"]], figures["held"]) == (["test_too_much"], 1)


def test_masks_hold_wherever_pixels_go(tmp_path: Path) -> None:
    """Ten random sets of masks: no open pixel in any of the six places, and each place shows some."""
    figures = sample("masks", tmp_path, "--sets", "10")
    assert (figures["sets"], figures["wrong"], len(figures["places"])) == (10, [], 6)
    assert all(place["pixels"] for place in figures["places"].values())


def test_walks_through_zones_and_lines(tmp_path: Path) -> None:
    """Two batches of walks: all are as the reference says, many are on borders, and naive rules are noticed."""
    figures = sample("zones", tmp_path, "--walks", "60", "--batch", "40")
    assert (figures["walks"], figures["wrong"]) == (60, [])
    assert min(figures["feet_on_borders"], figures["crossed"], *figures["noticed"].values()) > 10


def test_camera_faults_of_each_quick_kind(tmp_path: Path) -> None:
    """A killed, a stopped and a crashing child are reported and replaced while MQTT and health go on; counts add up."""
    figures = sample("daemon_faults", tmp_path, *UNHURRIED, "--cycles", "3", "--fault", "kill", "--fault", "stop",
                  "--fault", "crash")
    assert figures["worst"].keys() == {"kill", "stop", "crash"}


def test_a_stream_that_falls_silent(tmp_path: Path) -> None:
    """A live RTSP stream without data is reported and recovers, without another capture child."""
    figures = sample("daemon_faults", tmp_path, *UNHURRIED, "--cycles", "1", "--fault", "rtsp silent")
    assert figures["lives"][0]["accounts"]["children_replaced"] == 0


def test_a_folder_that_is_removed_and_a_clock_that_goes_back(tmp_path: Path) -> None:
    """Both are reported, and cleared when corrected; no result is lost, and each is about a frame that was detected on.
    """
    figures = sample("running_faults", tmp_path, "--cycles", "1", "--slack-s", "60", "--least-share", "0",
                  "--fault", "removed, put back empty", "--fault", "clock -10 years", timeout_s=400)
    assert figures["lives"][0]["missing"] == 0


def test_a_thread_that_keeps_python_in_an_endless_loop(tmp_path: Path) -> None:
    """The watchdog ends it with every stack in the log, and the next daemon reports the hang."""
    figures = sample("running_faults", tmp_path, "--slack-s", "60", "--watchdog-s", "5", "--fault", "spin in detect",
                  timeout_s=400)
    assert figures["hangs_s"].keys() == {"spin in detect"}


def test_devices_with_default_names_do_not_evict_each_other(tmp_path: Path) -> None:
    """Two state folders, an instance and, as root, two hosts of one name keep their connections."""
    figures = sample("identities", tmp_path, "--cycles", "1", "--watch-s", "2",
                  "--case", "one_host", "--case", "two_hosts")
    assert len(set(figures["one_host"][0]["names"])) == 3


def test_a_device_comes_back_with_its_broker(tmp_path: Path) -> None:
    """One device through the limiter; the crowd is only in the campaign, because it takes minutes."""
    figures = sample("returning", tmp_path, *UNHURRIED, "--devices", "1", "--down-s", "0.5")
    assert figures["1 at 300/s after 0.5 s"]["back"] == figures["1 over TLS at 300/s after 0.5 s"]["back"] == 1


def test_results_through_cuts_restarts_and_a_kill(tmp_path: Path) -> None:
    """Only counted or young results are missing; order is kept; few bytes are written."""
    figures = sample("outbox_cuts", tmp_path, *UNHURRIED, "--restarts", "1", "--cuts", "4", "--results", "200",
                  "--kills", "1", "--small", "800")
    assert figures["cuts"]["missing"] == 0


def test_events_through_kills_and_power_cuts(tmp_path: Path) -> None:
    """Each starts once and ends once."""
    figures = sample("event_cuts", tmp_path, "--events", "60", "--cuts", "3")
    assert figures["power"]["interrupted"] > 0


def test_a_broker_that_comes_late_restarts_and_refuses(tmp_path: Path) -> None:
    """`online` after its return, a bounded outbox, and every result arrived or counted; no rate is checked."""
    figures = sample("daemon_broker", tmp_path, *UNHURRIED, "--cycles", "1", "--turn-s", "1.5", "--rate-floor", "0",
                  "--fault", "restarted", "--fault", "refusing")
    assert figures["reconnects"] == [2]


def test_a_page_that_is_killed(tmp_path: Path) -> None:
    """The daemon does not notice; no rate is checked."""
    figures = sample("page_attacks", tmp_path, "--attack", "kills", "--count", "10", "--peace-s", "1",
                     "--settle-s", "1", "--least-share", "0")
    assert figures["attacks"]["kills"]["pages"] >= 3


def test_planted_secrets_through_every_refusal(tmp_path: Path) -> None:
    """Broker, camera, cloud and update server refuse, configurations are wrong, stacks are dumped: no secret gets out.
    """
    figures = sample("planted_secrets", tmp_path, "--case", "life")
    assert (figures["cases"]["life"] >= 30, figures["found"]) == (True, [])


def test_repeated_signals_and_quick_restarts(tmp_path: Path) -> None:
    """A daemon stops before a frozen broker, and restarts quickly: everything arrives once and in order."""
    figures = sample("daemon_stops", tmp_path, "--case", "twice", "--case", "restarts", "--rounds", "1",
                     "--restarts", "3", *UNHURRIED)
    assert {name: case["missing"] for name, case in figures["cases"].items()} == {"twice": 0, "restarts": 0}


def test_pauses_of_a_daemon(tmp_path: Path) -> None:
    """A daemon that was stopped and continued detects as before, and the next one knows that it ended in order."""
    figures = sample("pauses", tmp_path, "--case", "all", "--pause-s", "4", *UNHURRIED)
    assert (figures["cases"]["all"]["wrong"], figures["broken"]) == ([], [])


def test_mutated_bundles_through_the_whole_chain(tmp_path: Path) -> None:
    """Read, resolved and probed: each ends in a refusal or a sound model, in little memory and little time."""
    figures = sample("mutants", tmp_path, "--read", "150", "--probe", "4")
    assert (figures["mutants"], figures["parent_exceptions"]) == (154, 0)
    assert figures["read"] > 5


def test_mutants_of_our_own_code(tmp_path: Path) -> None:
    """One that breaks every import is killed, so that the copy is what runs; one that breaks nothing survives."""
    (tmp_path / "table.toml").write_text("\n".join(
        f'[[mutant]]\nbreaks = "{breaks}"\nfile = "_lib/backoff.py"\nold = "{old}"\nnew = "{new}"\n'
        'tests = ["_lib/test_backoff.py"]' for breaks, old, new in (
            ("the import", "import random", "import randomness"), ("nothing", "without end.", "without an end."))))
    figures = sample("mutants_of_ours", tmp_path, "--table", str(tmp_path / "table.toml"), code=1)
    assert (figures["killed"], figures["survivors"]) == (1, ["_lib/backoff.py: nothing"])


def test_a_device_whose_model_fails_is_silent(tmp_path: Path) -> None:
    """In its own network it sends packets to its broker only, also while nothing detects and the broker is away."""
    figures = sample("silence", tmp_path, "--minutes", "0.05", "--life", "raising")
    if "skipped" in figures:
        pytest.skip(figures["skipped"])
    assert (figures["elsewhere"], figures["lies"]) == ([], [])
    assert figures["to_the_broker"] > 10


def test_a_cap_of_cloud_calls_through_kills(tmp_path: Path) -> None:
    """Lives of a client that asks as fast as it can, each killed: the server counts no more than was written."""
    figures = sample("cloud_budget", tmp_path, "--kills", "25", "--life-s", "0.2")
    assert 0 < figures["at_server"] <= figures["written"] <= figures["cap"]


def test_a_good_cloud_and_a_bad_one(tmp_path: Path) -> None:
    """One with extra headers is used; one that drips costs its deadline, and no frame of the model."""
    figures = sample("cloud_servers", tmp_path, "--outage-s", "0", "--cloud", "trailers", "--cloud", "drips behind TLS",
                  timeout_s=300)
    assert (figures["clouds"], figures["wrong"]) == (2, {})


def test_swaps_and_cuts_leak_nothing(tmp_path: Path) -> None:
    """After rounds of both it holds as many objects, descriptors and threads as before, and every count agrees."""
    figures = sample("soak", tmp_path, "--frames", "100", "--rounds", "6", "--act", "swap", "--act", "cut",
                  "--paced")
    assert figures["acts"] == {"swap": 6, "cut": 6}
    assert figures["received"] == figures["capture"]["detected"]


def test_a_store_that_is_killed_at_random_moments(tmp_path: Path) -> None:
    """After each of 30 kills the active model is whole and nothing that was kept is lost."""
    figures = sample("store_kills", tmp_path, "--count", "30")
    assert (figures["kills"], figures["wrong"]) == (30, [])


def test_a_release_to_a_share_of_two_devices(tmp_path: Path) -> None:
    """The device whose bucket is in the share gets it after a nudge, through shadow and trial; the other does not."""
    figures = sample("fleet", tmp_path, "--count", "1", "--devices", "2", "--short")
    assert [step["moved"] for step in figures["stories"][0]] == [2, 1]


def test_watching_more_devices_than_a_broker_queues(tmp_path: Path) -> None:
    """Every count of 1,200 devices is right, and so is that of those that failed. No time is checked."""
    figures = sample("watching", tmp_path, "--devices", "1200", "--times", "1", "--within-s", "400")
    assert (sum(figures["failed"].values()), figures["wrong"]) == (31, [])


@pytest.mark.skipif(bool(missing()), reason=str(missing()))
def test_operators_beside_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """Root and the service's user send requests while it ends and starts: each is answered, and every file is the
    service's.
    """
    figures = sample("hands", tmp_path, "--count", "4")
    assert (figures["rounds"], figures["wrong"]) == (4, [])


@pytest.mark.skipif(not possible(), reason="namespaces need root")
def test_three_power_cuts_on_trial(tmp_path: Path) -> None:
    """They are no crashes: the new model becomes good."""
    figures = sample("bad_models", tmp_path, "--cycles", "1", "--case", "flickers")
    assert (figures["cases"], figures["wrong"]) == ({"flickers": 1}, [])


def test_the_box_model_on_an_emulated_arm(tmp_path: Path) -> None:
    """The scaling gives the bytes of x86 there, and the golden frames of the model in the box agree."""
    figures = sample("arm", tmp_path, "--quick", timeout_s=3000)
    if "skipped" in figures:
        pytest.skip(figures["skipped"])
    assert (figures["machine"] in ("aarch64", "armv7l"), figures["wrong"]) == (True, [])


PARTS = next(line.split()[2:] for line in (CAMPAIGNS.parents[1] / "Makefile").read_text().splitlines()
             if line.startswith("PARTS :="))
WITHOUT_A_SAMPLE = [part for part in PARTS if f'sample("{part}"' not in Path(__file__).read_text()]


@pytest.mark.parametrize("part", WITHOUT_A_SAMPLE)
def test_a_part_without_a_sample_can_be_imported(part: str) -> None:
    """`make campaign` finds it."""
    done = subprocess.run([sys.executable, CAMPAIGNS / f"{part}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


@pytest.mark.skipif(can_be_slow() is not None, reason=f"no slow board here: {can_be_slow()}")
def test_a_slow_board_gives_results(tmp_path: Path) -> None:
    """A quarter of one processor is enough for the film, by whichever try."""
    figures = sample("slow", tmp_path, "--percent", "25", "--within-s", "300", "--case", "film")
    assert figures["cases"].keys() == {"film"}


def test_a_day_of_the_street_is_collected(tmp_path: Path) -> None:
    """As a film of few and small frames: masked, within the quota, never sent. Evenness is not checked."""
    figures = sample("collect", tmp_path, "--life", "megabytes", "--as-film", "--fps", "0.5", "--size", "320", "180",
                     "--even", "9")
    assert figures["lives"]["megabytes"]["pictures"] >= 10


def test_results_reach_the_database_once(tmp_path: Path) -> None:
    """The program is killed, the broker restarts, and the database crashes; each result is one row."""
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's server is missing: apt install postgresql")
    figures = sample("ingest", tmp_path, "--results", "200", "--kills", "1", "--part", "once")
    assert (figures["once"]["rows"], figures["once"]["distinct"]) == (200, 200)


def test_rollouts_of_a_release_that_fails_stop_early(tmp_path: Path) -> None:
    """Over 2,000 devices, with some that lie: no rollout goes through, and few devices ever run the release."""
    figures = sample("rollouts", tmp_path, "--devices", "2000", "--rollouts", "1", "--workers", "1",
                     "--case", "bad 20 %", "--case", "lies", "--case", "silent 20 %")
    assert [(case["stopped"], case["early"]) for case in figures["cases"].values()] == 3 * [(1, 1)]


def test_real_devices_end_a_rollout_of_a_blind_model(tmp_path: Path) -> None:
    """One of two daemons tries it and goes back, and the other one never gets it."""
    figures = sample("rolls", tmp_path, "--devices", "2", "--case", "blind")
    assert [(case["exit"], case["touched"]) for case in figures["cases"]] == [(65, 1)]


def test_a_configuration_of_a_few_devices(tmp_path: Path) -> None:
    """Simulated devices change by one command, and a bad configuration is taken back. A real daemon is not waited for.
    """
    figures = sample("configure", tmp_path, "--devices", "10", "--daemons", "0")
    assert [step["good"] for step in figures["steps"]] == [9, 9, 1, 0]
    assert figures["steps"][2]["failed"] == {"errors": 8}
