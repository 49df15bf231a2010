"""The outbox of an ended daemon in its state folder, read with the daemon's own reader."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vedette._lib.double_buffered_file import DoubleBufferedFile
from vedette.mqtt.checkpoint import Checkpoint
from vedette.mqtt.spool import Spool


@dataclass(frozen=True)
class OutboxLeft:
    """`results`: (run, seq) of those on disk; the broker has those of the first batches, where `mark` says so."""

    results: frozenset[tuple[int, int]]
    mark: Checkpoint
    damage: str | None

    @property
    def dropped(self) -> Counter[str]:
        """Messages by kind, over all runs of the folder."""
        return self.mark.dropped


def left_in(state: Path) -> OutboxLeft:
    """Read the outbox in a state folder that no daemon uses. Changes nothing."""
    folder = state / "outbox"
    spool = Spool(folder, 1 << 40)
    damage = spool.recover()
    numbers = sorted(int(path.stem) for path in folder.glob("*.spool")) if folder.is_dir() else []
    results = frozenset((batch.run, kept.message.seq) for number in numbers for batch in spool.read(number)[0]
                        for kept in batch.messages() if kept.message.seq is not None)
    content = DoubleBufferedFile(state / "outbox.mark").read()
    return OutboxLeft(results, Checkpoint.parse(content) if content is not None else Checkpoint(), damage)
