"""What every test uses: no variables of the user, the same examples each time, a broker, the real inputs if present."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.subscriber import Subscriber, listening
from tests.support.daemon.guard import DaemonGuard
from tests.support.daemon.signals import reset_in_children

# Shared machines stall for longer than any single example takes; a deadline would measure the neighbours. A verdict is
# the same twice: new examples are the business of tests/campaign/properties.py, with the profile `search`.
settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("house"), derandomize=False, database=None, print_blob=True,
                          max_examples=2000)
settings.load_profile("house")

daemon_guard = DaemonGuard()


def pytest_configure() -> None:
    """Every start of a process is observed."""
    sys.addaudithook(daemon_guard.on_audit)


@pytest.fixture(autouse=True)
def _daemons_only_where_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that starts a daemon carries the mark; `make quick` leaves it out."""
    daemon_guard.marked = request.node.get_closest_marker("daemon") is not None
    yield
    daemon_guard.marked = False


@pytest.fixture(scope="session", autouse=True)
def _signals_of_a_terminal() -> None:
    """Programs that tests start can be interrupted, wherever the tests were started."""
    reset_in_children()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own VEDETTE_… variables change no test."""
    for name in [name for name in os.environ if name.startswith("VEDETTE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _open_to_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test can give a folder to another user: pytest closes its folders at several depths."""
    base = tmp_path_factory.getbasetemp()
    for folder in (base, *base.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o711)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real models, images and films, which is no part of the project."""
    folder = Path(__file__).parents[2] / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"real inputs are absent: {folder}")
    return folder


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real mosquitto that admits every client."""
    with running(tmp_path) as one:
        yield one


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    """Whoever listens to all that the device `gate` says to it."""
    with listening(broker.client(), "vedette/gate/#") as one:
        yield one
