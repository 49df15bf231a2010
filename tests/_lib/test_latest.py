"""The keep-latest mailbox."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from vedette._lib.latest import Latest


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=60))
def test_every_item_is_taken_replaced_or_kept(depth: int, puts: list[bool]) -> None:
    """In any order of put and take: put = taken + replaced + kept, oldest first, never more than the depth."""
    box: Latest[int] = Latest(depth)
    taken, replaced, count = [], [], 0
    for put in puts:
        if put:
            count += 1
            out = box.put(count)
            replaced += [out] if out else []
        else:
            item = box.take(0)
            taken += [item] if item else []
        assert len(box) <= depth
    assert count == len(taken) + len(replaced) + len(box)
    assert taken == sorted(taken)
    assert replaced == sorted(replaced)


def test_a_taker_wakes_for_an_item_and_for_the_end() -> None:
    """A waiting taker gets what is put, and None once the mailbox is closed and empty."""
    box: Latest[str] = Latest()
    got = []
    taker = threading.Thread(target=lambda: got.extend([box.take(10), box.take(10)]))
    taker.start()
    box.put("frame")
    while len(box):
        threading.Event().wait(0.001)
    box.close()
    taker.join(60)
    assert got == ["frame", None]
    assert repr(box) == "<Latest 0/1 closed>"


def test_items_survive_the_close() -> None:
    """close() loses no item."""
    box: Latest[int] = Latest()
    box.put(1)
    box.close()
    assert box.take(0) == 1
    assert box.take(0) is None


def test_every_taker_wakes_at_the_end() -> None:
    """close() wakes all threads that wait, not only one."""
    box: Latest[int] = Latest()
    takers = [threading.Thread(target=box.take, args=(600,)) for _ in range(3)]
    for taker in takers:
        taker.start()
    while len(box._changed._waiters) < len(takers):  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    box.close()
    for taker in takers:
        taker.join(60)
    assert not any(taker.is_alive() for taker in takers)
