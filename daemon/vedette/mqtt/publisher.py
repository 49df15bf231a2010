"""Keeps a device connected to its broker, and sends its messages there.

Invariants: the `mqtt` thread owns the connection; other threads only put messages into the outbox, so `publish` never
waits; a message leaves the outbox for good only when the broker has acknowledged it, or refused it, which is counted;
every connect publishes `online` and then the latest message of every retained topic; an ordered stop publishes
`offline`; commands are acknowledged before they are carried out. When a client of the same name takes over the
connection, that is reported, and a long pause follows, so that two devices do not disconnect each other all the time.
A message at which the broker hangs up again and again counts as refused, since it would block all others for ever.
What a broker does not support (QoS 1, retained messages, MQTT 5) is not used, and `mqtt_limited` says what is lost.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from vedette._lib.backoff import backoff
from vedette._lib.worker import Worker
from vedette.config.models import Config
from vedette.errors import BrokerAway, BrokerError, BrokerRefused
from vedette.messages import payloads, topics
from vedette.messages.brief import brief
from vedette.mqtt.backfill import Backfill
from vedette.mqtt.command_filter import CommandFilter, Incoming, Refusal
from vedette.mqtt.connection import Connection
from vedette.mqtt.outbox import Outbox, Waiting
from vedette.mqtt.poison_message import PoisonMessages
from vedette.mqtt.reconnect_policy import ReconnectPolicy
from vedette.mqtt.search import Search
from vedette.mqtt.spool_worker import SpoolWorker
from vedette.mqtt.terms import Start, Terms
from vedette.ports import Clock
from vedette.types import BrokerStatus, Command, Message, ReasonCode

log = logging.getLogger(__name__)

POLL_S = 0.5
CONNECT_WITHIN_S, ADDRESSES = 60.0, 4
"""The resolver may take long. Each address of a name, and TLS, may take as long as the connection may."""
RETRY_FIRST_S, RETRY_CAP_S = 0.25, 3.0
OFFLINE_WITHIN_S = 2.0
DROPPING_NAMED_FOR_S = 60.0
DENIED_NAMED_FOR_S = 60.0


class MqttPublisher:
    """The device's side of the broker: a ports.Publisher and a ports.ReasonSource."""

    def __init__(self, config: Config, device: str, clock: Clock, *, spool: SpoolWorker | None = None,
                 on_end: Callable[[Worker], None] | None = None) -> None:
        mqtt = config.mqtt
        self.worker = Worker("mqtt", self._run, on_end=on_end)
        self._mqtt = mqtt
        self._device = device
        self._on_command: Callable[[Command], None] | None = None
        self.heard: dict[str, Callable[[bytes], None]] = {}     # by absolute topic, besides commands. Before `start`
        self._command_filter = CommandFilter(device, config.commands.allow, clock.utc_now)
        self._outbox = Outbox(mqtt.outbox_messages) if spool is None else spool.outbox
        self._spool = spool
        self._backfill = None if spool is None else Backfill(self._outbox, mqtt, clock, spool.clock_synced)
        self._in_flight: dict[int, Waiting] = {}
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        self._lock = threading.Condition()
        self._connected_since_s: float | None = None
        self._connects = 0
        self._published = 0
        self._refused = 0
        self._denied_until_s = 0.0
        self._subscription_refused = False
        self._end: BrokerError = BrokerAway(f"not connected to {mqtt.host}:{mqtt.port} yet")
        self._reconnect = ReconnectPolicy(Terms(mqtt.protocol == 5))
        self._losses = ""
        self._poison_messages = PoisonMessages()
        self._not_sent: set[str] = set()
        """Topics of messages at which the broker would hang up; each is logged once."""
        self._drop_seen = (0, 0.0)
        if spool is not None:
            spool.when_loaded(self._wake)

    def __repr__(self) -> str:
        return f"<MqttPublisher {self._device} connected={self._connected_since_s is not None} {self._outbox!r}>"

    def subscribe(self, on_command: Callable[[Command], None]) -> None:
        """Call `on_command` with accepted commands, on the `mqtt` thread: it must only enqueue. Before `start`."""
        self._on_command = on_command

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Any thread."""
        self._command_filter.allowed = config.commands.allow

    def start(self) -> None:
        """Start the `mqtt` thread; it connects as soon as the broker is there."""
        self.worker.start()

    def publish(self, message: Message) -> None:
        """Put a message into the outbox. Any thread; never blocks. QoS 0 while offline is dropped and counted."""
        if message.qos == 0 and self._connected_since_s is None:
            self._outbox.drop({message.kind: 1})
            return
        self._outbox.put(message)
        self._wake()

    def status(self) -> BrokerStatus:
        """Return the status of the connection. Any thread; never blocks."""
        with self._lock:
            connected = self._connected_since_s is not None
            status = BrokerStatus(connected, None if connected else str(self._end),
                                  max(0, self._connects - 1), len(self._outbox), self._outbox.dropped,
                                  self._refused, self._published)
        return status if self._spool is None else self._spool.add_to(status)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        with self._lock:
            reasons = self._own_reasons(connected=self._connected_since_s is not None)
        return reasons if self._spool is None else reasons | self._spool.reasons()

    def flush(self, timeout_s: float) -> bool:
        """Wait until every message was acknowledged or refused; returns whether that is so. Any other thread."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._outbox, timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Publish `offline`, disconnect, end the thread; returns whether it has ended. Safe to call twice."""
        self.worker.stopping.set()
        self._wake()
        ended = self.worker.stop(timeout_s)
        with self._lock:
            if ended and not self._closed:
                os.close(self._wake_fd)
                self._closed = True
        return ended

    def _wake(self) -> None:
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake_fd, 1)

    def _run(self, worker: Worker) -> None:
        delays = backoff(RETRY_FIRST_S, RETRY_CAP_S)
        while not worker.stopping.is_set():
            connects = self._connects
            try:
                self._run_connection(worker)
            except BrokerError as end:
                if self._connects == connects:      # there was no connection: no message ended it
                    self._poison_messages.connection_ended(())
                elif not self._reconnect.are_short:
                    delays = backoff(RETRY_FIRST_S, RETRY_CAP_S)
                pause_s = self._pause_after(type(end)(str(end)), next(delays))   # no traceback: it holds the connection
                worker.beat(pause_s + CONNECT_WITHIN_S)
                worker.stopping.wait(pause_s)
            if self._reconnect.must_search and not worker.stopping.is_set():
                self._search(worker)

    def _run_connection(self, worker: Worker) -> None:
        """Use one connection until `worker.stopping`. Raises: BrokerError if it ends before."""
        start = self._reconnect.start()
        worker.beat(CONNECT_WITHIN_S + ADDRESSES * start.within_s)
        try:
            connection = self._connect(start)
        except BrokerError as end:
            self._reconnect.unreachable(end)
            raise
        try:
            while not worker.stopping.is_set():
                worker.beat()
                if not start.only_discards:
                    self._step(connection)
                elif connection.poll(POLL_S) or connection.connected:
                    self._reconnect.discarded()
                    return
            if connection.connected:
                self._publish_offline(connection)
        except BrokerError:
            self._reconnect.ended(connection)
            raise
        finally:
            connection.close(send_disconnect=start.only_discards or worker.stopping.is_set())
            self._requeue(connection)

    def _connect(self, start: Start) -> Connection:
        return Connection(self._mqtt, f"vedette-{self._device}", start, will=self._availability(topics.OFFLINE),
                          filters=() if start.only_discards else (*topics.subscriptions(self._device), *self.heard))

    def _connect_clean(self, terms: Terms) -> Connection:
        return self._connect(replace(self._reconnect.start(), terms=terms, clean=True, keep_session=False))

    def _search(self, worker: Worker) -> None:
        """Find out what the broker supports, since it does not say it."""
        search = Search(self._connect_clean, self._availability(topics.ONLINE), self._receive,
                        self._reconnect.busy_pause_s, worker)
        self._reconnect.found(search.run(self._reconnect.start().terms))

    def _step(self, connection: Connection) -> None:
        pause_s = self._backfill.pause_s(POLL_S) if self._backfill and connection.has_room else POLL_S
        incoming = connection.poll(pause_s, self._wake_fd)
        self._drain_wakes()
        if connection.connected and self._connected_since_s is None:
            self._on_connected(connection)
        self._process_receipts(connection)
        for message in incoming:
            self._receive(message)
        self._feed(connection)

    def _on_connected(self, connection: Connection) -> None:
        online = self._availability(topics.ONLINE)
        connection.publish(online.topic, online.payload, qos=online.qos, retain=online.retain)
        self._outbox.renew_states()
        if self._backfill is not None:
            self._backfill.connected()
        with self._lock:
            self._connects += 1
            self._connected_since_s = time.monotonic()
            self._reconnect.connected(connection)
            losses, self._losses = self._losses, connection.terms.losses(wanted_v5=self._mqtt.protocol == 5)
        self._poison_messages.connected()
        if self._losses not in ("", losses):
            log.warning("the broker at %s:%d cannot do all: %s", self._mqtt.host, self._mqtt.port, self._losses)
        log.info("connected to %s:%d as vedette-%s", self._mqtt.host, self._mqtt.port, self._device)

    def _feed(self, connection: Connection) -> None:
        while connection.has_room and not self._poison_messages.must_wait(len(self._in_flight)) and \
                (waiting := self._next()) is not None:
            message = waiting.message if self._backfill is None else self._backfill.as_of_now(waiting)
            topic = topics.absolute(self._device, message.topic)
            if self._poison_messages.is_too_large(message) or not connection.fits(topic, message.payload):
                message = brief(message)
            if self._poison_messages.is_too_large(message) or self._poison_messages.is_denied(message):
                self._refuse(waiting)
                continue
            number = connection.publish(topic, message.payload, qos=message.qos, retain=message.retain)
            self._in_flight[number] = replace(waiting, message=message)
        if self._spool is not None and connection.connected and not (self._outbox.in_doubt or self._outbox.late_left):
            self._spool.request_refill()

    def _next(self) -> Waiting | None:
        return self._outbox.next() or (self._backfill.next() if self._backfill is not None else None)

    def _process_receipts(self, connection: Connection) -> None:
        with self._lock:
            self._subscription_refused = bool(connection.refused_filters)
            for receipt in connection.receipts():
                waiting = self._in_flight.pop(receipt.number, None)      # None for `online` and `offline`
                if waiting is not None:
                    self._outbox.finish(waiting, accepted=receipt.accepted)
                self._published += receipt.accepted and waiting is not None
                self._poison_messages.accepted(waiting if receipt.accepted else None)
                if not receipt.accepted:
                    self._count_refused()
            self._lock.notify_all()

    def _receive(self, incoming: Incoming) -> None:
        command = self._command_filter.decide(incoming)
        if isinstance(command, Refusal):
            log.warning("%s refused: %s", incoming.topic, command.error)
            reply = payloads.reply("refused", transaction=command.transaction, error=command.error)
            self.publish(Message("/" + command.reply_topic, payloads.encode(reply)))
        elif command is not None and self._on_command is not None:
            log.info("command %s accepted", command.name)
            self._on_command(command)
        elif incoming.topic in self.heard:
            self.heard[incoming.topic](incoming.payload)

    def _publish_offline(self, connection: Connection) -> None:
        offline = self._availability(topics.OFFLINE)
        deadline_s = time.monotonic() + OFFLINE_WITHIN_S
        while not connection.has_room and time.monotonic() < deadline_s:
            connection.poll(0.1)
            self._process_receipts(connection)
        connection.publish(offline.topic, offline.payload, qos=offline.qos, retain=offline.retain)
        while not connection.is_idle and time.monotonic() < deadline_s:
            connection.poll(0.1)
            self._process_receipts(connection)

    def _requeue(self, connection: Connection) -> None:
        self._process_receipts(connection)
        suspects = self._in_flight.values() if connection.closed_by_broker else ()
        poison = self._poison_messages.connection_ended(suspects)
        if poison is not None:
            self._discard_poison(poison)
        self._in_flight.clear()
        self._outbox.requeue()

    def _discard_poison(self, poison: Waiting) -> None:
        log.warning("a message for %s with %d bytes is discarded: the broker hangs up at it",
                    poison.message.topic, len(poison.message.payload))
        self._outbox.discard(poison)
        with self._lock:
            self._count_refused()
            self._reconnect.found_poison()

    def _refuse(self, waiting: Waiting) -> None:
        topic = waiting.message.topic
        if topic not in self._not_sent:
            self._not_sent.add(topic)
            log.warning("a message for %s with %d bytes is not sent: the broker hung up at one like it",
                        topic, len(waiting.message.payload))
        self._outbox.finish(waiting, accepted=False)
        with self._lock:
            self._count_refused()
            self._lock.notify_all()

    def _count_refused(self) -> None:
        self._refused += 1
        self._denied_until_s = time.monotonic() + DENIED_NAMED_FOR_S

    def _pause_after(self, end: BrokerError, delay_s: float) -> float:
        """Record why the connection ended; returns the seconds to wait before the next one."""
        with self._lock:
            since_s, self._connected_since_s = self._connected_since_s, None
            logged_before = since_s is None and str(end) == str(self._end)
            self._end = end
            delay_s = self._reconnect.pause_s(end, delay_s)
        if not logged_before:
            log.warning("%s; trying again in %.1f s", end, delay_s)
        return delay_s

    def _own_reasons(self, *, connected: bool) -> dict[ReasonCode, str]:
        """Return the reasons that hold now, without those of the disk, each with its own detail."""
        now_s, dropped = time.monotonic(), self._outbox.dropped
        if dropped > self._drop_seen[0]:
            self._drop_seen = (dropped, now_s + DROPPING_NAMED_FOR_S)
        reasons: dict[ReasonCode, str] = {}
        if not connected:
            reasons["mqtt_refused" if isinstance(self._end, BrokerRefused) else "mqtt_offline"] = str(self._end)
        elif losses := "; ".join(filter(None, (self._losses, self._poison_messages.losses()))):
            reasons["mqtt_limited"] = losses
        if connected and self._subscription_refused:
            reasons["mqtt_denied"] = "the broker refuses a subscription; the log names it"
        elif now_s < self._denied_until_s:
            reasons["mqtt_denied"] = f"messages refused in this run: {self._refused}"
        if self._reconnect.has_duplicate:
            reasons["duplicate_device"] = f"another client uses the client id vedette-{self._device}"
        if now_s < self._drop_seen[1]:
            reasons["outbox_dropping"] = f"messages dropped in this run: {dropped}"
        return reasons

    def _availability(self, word: bytes) -> Message:
        return Message(topics.absolute(self._device, topics.AVAILABILITY), word, retain=True)

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)
