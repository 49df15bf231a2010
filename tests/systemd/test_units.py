"""The units: valid, hardened, every relaxed line explained, the template a true twin of the plain one."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon.running import RunningDaemon, environment
from vedette import app, supervisor
from vedette.camera import remote
from vedette.config.load import read
from vedette.device.identity import StateFolder
from vedette.errors import ConfigError, FleetError, UsageError
from vedette.fallback import build

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = ("vedette.service", "vedette@.service")
PAGE, ROLL = "vedette-page.service", "vedette-roll@.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is absent")


def analyze(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=240)


@needs_systemd
@pytest.mark.parametrize("name", [*UNITS, PAGE, ROLL])
def test_systemd_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` is clean; only the program's path is one that exists here."""
    text = (FOLDER / name).read_text().replace("/opt/vedette/current/bin/vedette", "/bin/true")
    (tmp_path / name).write_text(text)
    done = analyze("verify", "--man=no", tmp_path / name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize("name", [*UNITS, PAGE, ROLL])
def test_the_exposure_is_at_most_two(name: str) -> None:
    """A bare unit has 9.2; `--threshold` counts in tenths."""
    done = analyze("security", "--offline=true", "--threshold=20", FOLDER / name)
    assert done.returncode == 0, done.stdout


@needs_systemd
@pytest.mark.parametrize("name", [UNITS[0], PAGE, ROLL])
def test_every_relaxed_line_is_explained(name: str) -> None:
    """Whatever systemd still finds exposed is named below the word `relaxed` in the unit."""
    found = json.loads(analyze("security", "--offline=true", "--json=short", FOLDER / name).stdout)
    exposed = {re.split(r"[=/]", check["name"])[0] for check in found if check["set"] is False and check["exposure"]}
    explained = (FOLDER / name).read_text().partition("# relaxed:")[2]
    assert exposed
    assert {name for name in exposed if name not in explained} == set()


@pytest.mark.slow
def test_systemd_waits_for_the_longest_ordered_stop(tmp_path: Path) -> None:
    """A hung camera must not cost the messages that are waiting, nor `offline`: all parts' bounds together, and 5 s."""
    token = tmp_path / "token"
    token.write_text("t")
    config = read(None, overrides={
        "cloud.enabled": True, "cloud.url": "https://localhost/", "cloud.token_file": str(token)})
    bounds_s = {"outbox": supervisor.STOP_TIMEOUT_S, "mqtt": supervisor.STOP_TIMEOUT_S + app.FLUSH_TIMEOUT_S,
                "capture": remote.STOP_WITHIN_S, "cloud": build.CLOUD_STOP_S, "drift": supervisor.STOP_TIMEOUT_S,
                "clips": supervisor.STOP_TIMEOUT_S, "collect": supervisor.STOP_TIMEOUT_S,
                "detect": supervisor.STOP_TIMEOUT_S, "update": supervisor.STOP_TIMEOUT_S, "socket": app.SOCKET_STOP_S}
    state = StateFolder(tmp_path / "state")
    try:
        parts = app.Daemon(app.Options(None, {}), config, state).parts()
        for part in reversed(parts):
            part.stop()     # the capture child is there before anything is started
        assert [part.name for part in parts] == list(bounds_s)
    finally:
        state.close()
    given = re.search(r"^TimeoutStopSec=(\d+)$", (FOLDER / UNITS[0]).read_text(), re.MULTILINE)
    assert given
    assert int(given[1]) >= sum(bounds_s.values()) + 5


def test_a_child_short_of_memory_does_not_stop_the_unit() -> None:
    """A candidate makes itself the first to die; with any other policy systemd would end the daemon with it."""
    assert "\nOOMPolicy=continue\n" in (FOLDER / UNITS[0]).read_text()


@pytest.mark.daemon
def test_a_reload_with_a_bad_configuration_fails(tmp_path: Path) -> None:
    """The unit's own lines, run as systemd does: the last one fails, and the daemon goes on and says why."""
    config = tmp_path / "config.yaml"
    config.write_text("device: gate\nmqtt: {port: 1}\ncamera: {source: synthetic, fps: 5}\n")
    lines = re.findall(r"^ExecReload=(.*)$", (FOLDER / UNITS[0]).read_text(), re.MULTILINE)
    with RunningDaemon(tmp_path, "--config", config) as daemon:
        assert daemon.waits_for_log("camera: capturing"), daemon.log

        def reload() -> list[int]:
            shell = [line.replace("/opt/vedette/current/bin/vedette", f"{sys.executable} -m vedette")
                     .replace("/etc/vedette/config.yaml", str(config))
                     for line in lines]
            return [subprocess.run(["sh", "-c", line], capture_output=True, timeout=240,
                                   env={**environment(tmp_path), "MAINPID": str(daemon.process.pid)}).returncode
                    for line in shell]

        assert reload() == [0, 0]
        assert daemon.waits_for_log("reloaded"), daemon.log
        config.write_text("devise: gate\n")
        assert reload() == [0, 78]
        assert daemon.waits_for_log("reload refused, nothing changed"), daemon.log
        assert daemon.process.poll() is None


def test_a_broker_on_this_machine_is_stopped_later() -> None:
    """systemd stops in the reverse order of starting. It is the order only: no broker is started or needed."""
    for name in UNITS:
        text = (FOLDER / name).read_text()
        after = re.search(r"^After=(.*)$", text, re.MULTILINE)
        assert after
        assert "mosquitto.service" in after[1].split()
        assert not re.search(r"^(Wants|Requires|BindsTo|PartOf)=", text, re.MULTILINE)


def test_a_rollout_that_is_over_is_not_started_again() -> None:
    """Done, stopped, or not to be begun: these exit codes are no failure that another start could cure."""
    text = (FOLDER / ROLL).read_text()
    assert "\nRestart=on-failure\n" in text
    prevented = re.search(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
    assert prevented
    assert set(map(int, prevented[1].split())) == {FleetError.exit_code, UsageError.exit_code, ConfigError.exit_code}


def test_the_user_of_the_page_has_no_name_that_exists() -> None:
    """With DynamicUser= systemd starts nothing as a user whose name belongs to a user or a group (217/USER)."""
    text = (FOLDER / PAGE).read_text()
    user = re.search(r"^User=(.*)$", text, re.MULTILINE)
    made = re.findall(r"^[ug] (\S+)", (FOLDER / "sysusers.d/vedette.conf").read_text(), re.MULTILINE)
    assert "vedette-page" in made
    assert (user[1] if user else PAGE.removesuffix(".service")) not in made


def test_the_template_differs_in_the_instance_only() -> None:
    """Description, configuration file, state folder and VEDETTE_INSTANCE carry %i; all else is the same."""
    plain, template = ((FOLDER / name).read_text().splitlines() for name in UNITS)
    added = [line for line in template if line not in plain]
    assert all("%i" in line for line in added)
    assert [line.replace("vedette-%i", "vedette").replace("%i.yaml", "config.yaml") for line in template
            if not line.startswith(("Description", "Environment"))] == [
                line for line in plain if not line.startswith("Description")]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is absent")
def test_the_user_is_understood() -> None:
    """systemd-sysusers would make the user and put it into the video group."""
    done = subprocess.run(["systemd-sysusers", "--dry-run", FOLDER / "sysusers.d" / "vedette.conf"],
                          capture_output=True, text=True, timeout=240)
    assert (done.returncode, "vedette" in done.stdout + done.stderr) == (0, True)
