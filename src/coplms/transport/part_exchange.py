"""Both directions of a trained part between the server and a device, on one machine.

Down it travels as a change since its initial values, up as a change since what came down last; both
sides hold either. A consortium's two ends of it are `consortium.courier` and `consortium.desk`.
"""

from collections.abc import Mapping

from torch import Tensor

from coplms.transport.feedback import Sender, receive
from coplms.transport.ledger import Direction
from coplms.transport.packing import Form, layout_of


class PartExchange:
    """A device's part on its way to the server and back, with what messages have lost.

    Attributes:
        senders: Direction -> the sender of its messages: what a checkpoint has to hold.
    """

    def __init__(self, device: str, initial: Mapping[str, Tensor], form: Form, block: int) -> None:
        """Nothing was sent yet.

        Args:
            device: Its name.
            initial: The part before any training, at both ends.
            form: How values travel.
            block: Values that share a scale in int8.
        """
        self._initial = initial
        self._layout = layout_of(initial, form, block)
        self.senders: dict[Direction, Sender] = {
            "up": Sender(f"{device}/upload", self._layout),
            "down": Sender(f"{device}/download", self._layout),
        }

    def pack(self, direction: Direction, values: Mapping[str, Tensor]) -> Tensor:
        """The message with these values, as bytes `[layout.packed_bytes]`.

        Raises:
            ConsortiumError: If a value or a change is not finite.
        """
        return self.senders[direction].pack(values, self._reference(direction))

    def receive(self, direction: Direction, packed: Tensor) -> dict[str, Tensor]:
        """The values that the newest message of that direction brings.

        Raises:
            ConsortiumError: If the bytes are none that `pack` makes.
        """
        return receive(packed, self._layout, self._reference(direction))

    def _reference(self, direction: Direction) -> Mapping[str, Tensor]:
        came_down = self.senders["down"].packed
        if direction == "down" or came_down is None:
            return self._initial
        return receive(came_down, self._layout, self._initial)
