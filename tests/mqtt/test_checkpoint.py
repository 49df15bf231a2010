"""The checkpoint of the outbox as JSON."""

from __future__ import annotations

from collections import Counter

import pytest

from vedette.mqtt.checkpoint import Checkpoint
from vedette.types import Acknowledged


@pytest.mark.parametrize("checkpoint", [
    Checkpoint(), Checkpoint(Acknowledged(3, 17), Counter(detections=2), 5, 1), Checkpoint(dropped=Counter(health=1))])
def test_it_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    """Also where some of it is unknown."""
    assert Checkpoint.parse(checkpoint.encode()) == checkpoint


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}", b"null", b"7", b'{"acknowledged": 7}',
                                     b'{"acknowledged": [1], "dropped": {}, "segment": null, "batches": 0}'])
def test_anything_else_is_an_empty_checkpoint(content: bytes) -> None:
    """A checkpoint of another version or a damaged one stops no daemon."""
    assert Checkpoint.parse(content) == Checkpoint()
