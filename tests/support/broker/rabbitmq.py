"""A real RabbitMQ cluster on the loopback interface, for tests. Each of its processes is ended by its id.

The nodes listen on one port, each on an address of its own, as the machines of a cluster do. They run with the files
of contrib/rabbitmq, unchanged. Their name server, their cookie and their data are this cluster's own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.network.ports import free_port
from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until

PROGRAM, CHECKS = (Path("/usr/lib/rabbitmq/bin", name) for name in ("rabbitmq-server", "rabbitmq-queues"))
RECIPE = Path(__file__).parents[3] / "contrib" / "rabbitmq"
NODES = (1, 2, 3)
_STARTED = "Server startup complete"


def missing() -> str | None:
    """Say what is not installed. None: nothing."""
    return None if PROGRAM.exists() and shutil.which("epmd") else "RabbitMQ is not installed"


def address(node: int) -> str:
    """Return where a node listens. The resolver prefers none of these addresses to another."""
    return f"127.0.1.{node}"


class Cluster:
    """Three nodes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._epmd_port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = dict.fromkeys(NODES, 0)
        cookie = folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def __repr__(self) -> str:
        return f"<Cluster port={self.port} {sorted(self._processes)}>"

    def start(self) -> None:
        """Start the nodes one after another, until all are one cluster that takes MQTT."""
        self._run("epmd", ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                  {"PATH": os.environ["PATH"]})
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: int) -> None:
        """Start one node, and wait until it takes MQTT."""
        own = self._folder / str(node)
        settings = own / "conf.d"
        settings.mkdir(parents=True, exist_ok=True)
        shutil.copy(RECIPE / "vedette.conf", settings / "10-vedette.conf")
        shutil.copy(RECIPE / "enabled_plugins", own / "enabled_plugins")
        (settings / "20-place.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.1 = {address(node)}:{self.port}\n"
            "cluster_formation.peer_discovery_backend = classic_config\n" + "".join(
                f"cluster_formation.classic_config.nodes.{one} = vedette-{one}@localhost\n" for one in NODES))
        self._starts[node] += 1
        self._run(str(node), [str(PROGRAM)], self._environment(node) | {
            "RUNNING_UNDER_SYSTEMD": "true",      # the script becomes the server, so its process id is the server's
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            "RABBITMQ_CONFIG_FILES": str(settings), "RABBITMQ_ENABLED_PLUGINS_FILE": str(own / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(own / "data"), "RABBITMQ_LOGS": "-", "RABBITMQ_PID_FILE": str(own / "pid"),
            **dict.fromkeys(("RABBITMQ_CONFIG_FILE", "RABBITMQ_ADVANCED_CONFIG_FILE"), str(own / "none"))})
        assert wait_until(lambda: self._has_started(node), PATIENCE_S), self.log(node)[-5000:]

    def may_lose(self, node: int) -> bool:
        """Return whether every queue keeps its majority without this node."""
        checked = subprocess.run([CHECKS, "check_if_node_is_quorum_critical", "--node", f"vedette-{node}@localhost"],
                                 env=self._environment(node), capture_output=True, check=False, timeout=PATIENCE_S)
        return checked.returncode == 0

    def kill(self, node: int) -> None:
        """End a node as a power cut does."""
        process = self._processes.pop(str(node))
        process.kill()
        process.wait()

    def log(self, node: int) -> str:
        return (self._folder / f"{node}.log").read_text(errors="replace")

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _environment(self, node: int) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self._folder), "LANG": "C.UTF-8",
                "ERL_EPMD_PORT": str(self._epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODENAME": f"vedette-{node}@localhost",
                "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
                "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"}

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, env=environment)

    def _has_started(self, node: int) -> bool:
        assert self._processes[str(node)].poll() is None, f"node {node} ended: {self.log(node)[-5000:]}"
        return self.log(node).count(_STARTED) == self._starts[node]


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
