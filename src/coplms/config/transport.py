"""How weights travel between server and devices."""

from typing import Literal

from pydantic import Field

from coplms.config.base import Section


class TransportConfig(Section):
    """How weights travel between server and devices.

    The lossy forms send changes; what one message loses is added to the next. Numbers on public
    text, as FedMKT and LLM2SLM send them, always travel as they are.
    """

    form: Literal["lossless", "bfloat16", "int8"] = "lossless"
    """`lossless`: every value as it is. `bfloat16`: two bytes a value, three significant digits.
    `int8`: one byte a value and four per block."""
    block: int = Field(64, ge=8)
    """Values that share a scale in int8. Fewer are more exact, and cost more bytes: 4 / block per
    value."""

    @property
    def is_lossy(self) -> bool:
        """Whether messages lose something."""
        return self.form != "lossless"
