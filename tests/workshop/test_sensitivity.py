"""Blocks stay float where they make much of the noise, and cost few bytes and little time."""

import pytest

from vedette.workshop.layers import Block
from vedette.workshop.sensitivity import BlockCost, choose

SIZE = 100_000


def block(name: str, *, kilobytes: float = 1.0, products: int = 1) -> Block:
    return Block(name, (), int(kilobytes * 1000), products)


def chosen(blocks: list[Block], ratios: list[float]) -> list[str]:
    """The names of the blocks that stay float."""
    rest = Block("rest", (), 90_000, 1000)
    costs = [BlockCost(each.name, ratio, each.bytes_float) for each, ratio in zip([*blocks, rest], [*ratios, 60.0],
                                                                                  strict=True)]
    return [each.name for each in choose(costs, [*blocks, rest], SIZE)]


def test_the_loudest_blocks_stay_float() -> None:
    """20 dB is a hundredth of the power, 40 dB is a ten-thousandth, which nobody would notice beside it."""
    assert chosen([block("quiet"), block("loud"), block("louder")], [40.0, 20.0, 17.0]) == ["louder", "loud"]


@pytest.mark.parametrize("dear", [block("dear", kilobytes=10), block("dear", products=500)])
def test_a_block_that_costs_much_becomes_int8(dear: Block) -> None:
    """More than a fiftieth of the bytes, or a tenth of the calculations, is too much; a cheap one still stays float."""
    assert chosen([dear, block("cheap")], [10.0, 15.0]) == ["cheap"]


def test_together_they_stay_within_the_bounds() -> None:
    """Each of three is cheap, and all three are not."""
    three = [block(name, kilobytes=1.2) for name in ("a", "b", "c")]
    assert chosen(three, [15.0, 14.0, 16.0]) == ["b", "a"]
