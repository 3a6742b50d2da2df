"""Changes in a lossy form, where what one message loses is added to the next.

A message tells how values changed since a reference that both sides hold. Rounding would cost the
small changes of every message alike, and their sum would drift; a sender that remembers what was
lost and sends it with the next change keeps the sum within one message's error (Seide et al. 2014,
"1-Bit Stochastic Gradient Descent...", Interspeech; Karimireddy et al. 2019, arXiv:1901.09847). It
is done in both directions, as in DoubleSqueeze (Tang et al. 2019, arXiv:1905.05957).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from coplms.errors import RunError
from coplms.transport.packing import (
    Layout,
    check_like,
    dtype_of,
    pack,
    shapes_of,
    unpack,
    unpack_as_sent,
)

_RESIDUAL = "residual/"


class Sender:
    """One direction's packing, with what earlier messages lost: a part of a checkpoint.

    The next values have to be trained on from the next reference, which both sides hold, not from
    the sender's own values: those contain what was lost, and feedback would add it a second time.

    >>> w = {"w": torch.zeros(2)}
    >>> sender = Sender("hospital/up", Layout({"w": ("float32", (2,))}, "int8"))
    >>> for _ in range(3):  # 0.3 is lost twice, then comes with the sum
    ...     w = receive(sender.pack({"w": w["w"] + torch.tensor([127, 0.3])}, w), sender.layout, w)
    ...     print(w["w"].tolist())
    [127.0, 0.0]
    [254.0, 1.0]
    [381.0, 1.0]
    """

    def __init__(self, name: str, layout: Layout) -> None:
        """Nothing was sent, so nothing was lost.

        Args:
            name: Unique in a run, such as `hospital-a/upload`; used in file names.
            layout: What both sides agreed on.
        """
        self.name = name
        self.layout = layout
        self.packed: Tensor | None = None
        """The newest message: a member that was restarted sends the same bytes again."""
        self._residual = self._nothing()

    def pack(self, values: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Tensor:
        """The message that lets a receiver know the values; see `receive`.

        Where it raises, nothing was changed.

        Args:
            values: With the layout's names and shapes.
            reference: What the receiver holds; not looked at in lossless.

        Raises:
            ConsortiumError: If a value or a change is not finite.
            ValueError: If values or reference are not the layout's.
        """
        if self.layout.form == "lossless":
            self.packed = pack(values, self.layout)
            return self.packed
        check_like(values, self.layout)
        check_like(reference, self.layout)
        packed = pack(self._plus_residual(values, reference), self.layout)
        self._residual = self._plus_residual(values, receive(packed, self.layout, reference))
        self.packed = packed
        return packed

    def state(self) -> dict[str, Tensor]:
        """The newest message and what all up to it lost, for a checkpoint; empty before any."""
        if self.packed is None:
            return {}
        residual = {f"{_RESIDUAL}{name}": value for name, value in self._residual.items()}
        return {"packed": self.packed, **residual}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            RunError: If it is of another layout; nothing was changed then.
        """
        residual = self._nothing()
        expected = shapes_of({f"{_RESIDUAL}{name}": value for name, value in residual.items()})
        expected["packed"] = ("uint8", (self.layout.packed_bytes,))
        if state and shapes_of(state) != expected:
            differing = sorted(name for name, _ in shapes_of(state).items() ^ expected.items())
            raise RunError(
                f"part '{self.name}': {differing[0]} is not as its messages need it. They are of "
                "other models or of another form: use the same models and the same `transport:` "
                "section throughout a run"
            )
        self.packed = state.get("packed")
        self._residual = {
            name: state.get(f"{_RESIDUAL}{name}", nothing) for name, nothing in residual.items()
        }

    def _plus_residual(
        self, values: Mapping[str, Tensor], taken: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Values - taken + residual, in float32.

        In this order: a residual may be too small to make a difference to a value, not to a
        difference of values.
        """
        return {
            name: (_float32(values[name]) - _float32(taken[name])).add_(residual)
            for name, residual in self._residual.items()
        }

    def _nothing(self) -> dict[str, Tensor]:
        if self.layout.form == "lossless":
            return {}
        return {name: torch.zeros(shape) for name, (_, shape) in self.layout.shapes.items()}


def receive(packed: Tensor, layout: Layout, reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sender's values, as exactly as the form keeps them; bit for bit the same on both sides.

    Args:
        packed: From `Sender.pack`.
        layout: What both sides agreed on.
        reference: The values that the sender's change counts from; not looked at in lossless.

    Returns:
        Tensors in the layout's dtypes that own their memory, on the CPU. Values beyond what a
        dtype can hold become its largest.

    Raises:
        ConsortiumError: If these bytes are none that `Sender.pack` makes.
        ValueError: If the reference is not the layout's.
    """
    if layout.form == "lossless":
        return unpack(packed, layout)
    check_like(reference, layout)
    return {
        name: _cast(_float32(reference[name]) + change, dtype_of(layout.shapes[name][0]))
        for name, change in unpack_as_sent(packed, layout).items()
    }


def _float32(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float32)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The value in another dtype; rounding a change up must not make an infinity of a float16."""
    limit = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    return value.clamp_(-limit, limit).to(dtype)
