"""Publishes what each frame showed: results, counts, and that no results come; or prints the results.

Invariants: `seq` counts published results of a run from 1; counts are null from the moment no results can come until
the next result, and stay so while the picture is frozen, whatever it shows; a result of another source than the one
before is always published. Results come one at a time (the pipeline sees to that); any thread may call `on_blind`.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, TextIO

from vedette.errors import OutputLost, OutputUnread
from vedette.messages import payloads, topics
from vedette.messages.publish_rules import CountsRule, PublishRule, count_labels
from vedette.types import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vedette.config.models import Config
    from vedette.messages.shapes import DetectionsPayload
    from vedette.ports import Camera, Clock, Flow, Publisher
    from vedette.types import DetectionResult, RunIdentity, Source


class ResultReporter:
    """Publishes results and counts over MQTT, as `publish` in the configuration says."""

    def __init__(self, publisher: Publisher, config: Config, clock: Clock, identity: RunIdentity, *, flow: Flow,
                 camera: Camera, clock_synced: Callable[[], bool]) -> None:
        self.identity = identity
        self._publisher = publisher
        self._rule = PublishRule(config.publish)
        self._counts = CountsRule()
        self._counts_lock = threading.Lock()
        self._counts_are_null = False
        self._clock = clock
        self._seq = 0
        self._source: Source | None = None
        self._flow = flow
        self._camera = camera
        self._clock_synced = clock_synced

    def __repr__(self) -> str:
        return f"<ResultReporter run={self.identity.run} seq={self._seq}>"

    @property
    def published(self) -> int:
        """Results of this run that were published: the `seq` of the last. Any thread."""
        return self._seq

    def is_due(self) -> bool:
        """Whether a result is to be published even without a change. Any thread."""
        return self._rule.is_due(self._clock.monotonic_ns())

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration, from the next result on. Any thread."""
        self._rule.publish = config.publish

    def on_result(self, result: DetectionResult) -> None:
        """Publish the result if the rules say so, and the counts if they changed."""
        if result.source != self._source:
            self._source = result.source
            self._rule.forget()
        if self._rule.should_publish(result.detections, self._clock.monotonic_ns()):
            self._seq += 1
            clock_synced = self._clock_synced()
            payload = payloads.detections(result, device=self.identity.device, run=self.identity.run, seq=self._seq,
                                          dropped=self._flow.all_dropped(), clock_synced=clock_synced)
            self._publisher.publish(Message(topics.DETECTIONS, payloads.encode(payload), seq=self._seq,
                                            unsynced_ns=None if clock_synced else result.frame.captured_ns))
        counts = count_labels(result.detections)
        with self._counts_lock:
            if self._counts.changed(counts) and self._camera.status().state != "frozen":
                self._counts.note(counts)
                self._counts_are_null = False
                self._publish_counts(counts, result)

    def on_blind(self) -> None:
        """Publish `counts: null`, once, until the next result. Any thread."""
        with self._counts_lock:
            if self._counts_are_null:
                return
            self._counts_are_null = True
            self._counts.forget()
            self._publish_counts(None, None)

    def _publish_counts(self, counts: Mapping[str, int] | None, result: DetectionResult | None) -> None:
        # Under the lock (`publish` does not block), so that the messages of two threads leave in the right order.
        captured_at = result.frame.captured_at if result else self._clock.utc_now()
        captured_ns = result.frame.captured_ns if result else self._clock.monotonic_ns()
        payload = payloads.counts(counts, captured_at=captured_at)
        self._publisher.publish(Message(topics.COUNTS, payloads.encode(payload), retain=True,
                                        unsynced_ns=None if self._clock_synced() else captured_ns))


class Printer:
    """Prints every result on a stream: one readable line each on a terminal, JSON lines otherwise."""

    def __init__(self, identity: RunIdentity, *, flow: Flow, clock_synced: Callable[[], bool],
                 stream: TextIO = sys.stdout) -> None:
        self._identity = identity
        self._flow = flow
        self._clock_synced = clock_synced
        self._stream = stream
        self._readable = stream.isatty()
        self._seq = 0

    def on_result(self, result: DetectionResult) -> None:
        """Print one result, numbered by this printer. Raises: OutputUnread, OutputLost."""
        self._seq += 1
        payload = payloads.detections(result, device=self._identity.device, run=self._identity.run, seq=self._seq,
                                      dropped=self._flow.all_dropped(), clock_synced=self._clock_synced())
        line = readable(payload) if self._readable else payloads.encode(payload).decode()
        try:
            print(line, file=self._stream, flush=True)
        except BrokenPipeError as error:
            raise OutputUnread("nobody reads the printed results any more") from error
        except OSError as error:
            raise OutputLost(f"results cannot be printed: {error.strerror}") from error


def readable(payload: DetectionsPayload) -> str:
    """Return one line for a person: when, how old, how long, and what was seen."""
    seen = ", ".join(f"{found['label']} {found['score']:.2f}" if found["score"] is not None else found["label"]
                     for found in payload["detections"])
    return (f"{payload['frame']['captured_at'][11:23]}  frame {payload['frame']['seq']:>6}  "
            f"{payload['age_ms']:6.1f} ms old  {payload['timing_ms']['invoke']:6.1f} ms  {seen or '-'}")
