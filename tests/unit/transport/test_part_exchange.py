"""`coplms.transport.part_exchange`: both directions of a part, worked by hand."""

import pytest
import torch
from torch import Tensor

from coplms.transport.ledger import Direction
from coplms.transport.part_exchange import PartExchange

INITIAL = {"w": torch.tensor([10.0, 10.0])}


@pytest.fixture
def exchange() -> PartExchange:
    return PartExchange("bank", INITIAL, "int8", block=8)


def carry(exchange: PartExchange, direction: Direction, *values: float) -> list[float]:
    found: Tensor = exchange.receive(
        direction, exchange.pack(direction, {"w": torch.tensor(values)})
    )["w"]
    return found.tolist()


def test_down_it_is_a_change_since_the_start_and_up_one_since_what_came_down(
    exchange: PartExchange,
) -> None:
    # A change of 127 makes the scale 1: a change of 0.3 beside it is lost, one of 0.7 is 1.
    assert carry(exchange, "up", 137.0, 10.3) == [137.0, 10.0]
    assert carry(exchange, "down", 137.0, 10.7) == [137.0, 11.0]
    assert carry(exchange, "up", 264.0, 11.3) == [264.0, 12.0]  # 0.3 now, and the 0.3 of before


def test_what_is_lost_comes_with_a_later_message_of_that_direction(
    exchange: PartExchange,
) -> None:
    found = [carry(exchange, "down", 137.0, 10.3) for _ in range(2)]
    assert found == [[137.0, 10.0], [137.0, 11.0]]
    assert carry(exchange, "up", 264.0, 11.3) == [264.0, 11.0]  # up, nothing was lost yet


def test_an_exchange_goes_on_where_its_senders_states_are(exchange: PartExchange) -> None:
    carry(exchange, "up", 137.0, 10.3)
    carry(exchange, "down", 137.0, 10.7)
    whole, half = (PartExchange("bank", INITIAL, "int8", block=8) for _ in range(2))
    for direction, sender in exchange.senders.items():
        whole.senders[direction].load_state(sender.state())
    half.senders["down"].load_state(exchange.senders["down"].state())
    assert carry(whole, "up", 264.0, 11.3) == [264.0, 12.0]
    assert carry(half, "up", 264.0, 11.3) == [264.0, 11.0]  # what the first one lost is not known
    assert {sender.name for sender in whole.senders.values()} == {"bank/upload", "bank/download"}
