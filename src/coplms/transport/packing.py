"""The tensors of a message as one array of bytes, whose layout both sides know beforehand.

Nothing but values travels: no names, no shapes, no header. In which form is a setting:

    lossless   every tensor's bytes, little-endian, in its own dtype
    bfloat16   every value rounded to bfloat16
    int8       the values in blocks: a float32 scale each, then an int8 code per value

Tensors follow each other in sorted order of their names. What the lossy forms lose is up to
`feedback`. Blocks keep one large value from costing all others their digits (Dettmers et al. 2021,
arXiv:2110.02861, section 2.1).
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from coplms.errors import ConsortiumError
from coplms.transport.codec import DTYPES, Shapes

Form = Literal["lossless", "bfloat16", "int8"]
"""How values travel."""

SCALE_BYTES = 4
"""A block's scale is a float32."""

MAX_CODE = 127
"""Codes are symmetric around 0, so -128 stands for nothing."""

_FLOAT32 = torch.finfo(torch.float32)
_LEAST_SCALE = _FLOAT32.tiny  # a denormal scale has too few digits for 127 codes
_MOST_SCALE = torch.tensor(_FLOAT32.max / (MAX_CODE + 1e-4)).item()  # 127 of them are finite


@dataclass(frozen=True)
class Layout:
    """Names, dtypes and shapes that both sides agreed on, and the form they travel in.

    >>> layout = Layout({"w": ("float32", (3, 30)), "b": ("bfloat16", ())}, "int8", block=64)
    >>> layout.tensor_bytes, layout.packed_bytes  # 91 codes, 2 scales
    (362, 99)

    Attributes:
        shapes: Dtype and shape by name.
        form: A lossy one takes floating-point tensors only.
        block: Values that share a scale in int8; no other form looks at it.

    Raises:
        ValueError: If the form or a dtype is unknown, a dtype does not fit the form, or a block
            holds nothing.
    """

    shapes: Shapes
    form: Form
    block: int = 64

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"form is {self.form!r}; known: {', '.join(get_args(Form))}")
        if self.block < 1:
            raise ValueError(f"block must be above 0, got {self.block}")
        for name, (dtype, _) in self.shapes.items():
            if dtype not in DTYPES.values():
                raise ValueError(f"tensor '{name}' is {dtype}; known: {list(DTYPES.values())}")
            if self.form != "lossless" and not dtype_of(dtype).is_floating_point:
                raise ValueError(f"tensor '{name}' is {dtype}, which travels in 'lossless' only")

    @property
    def names(self) -> list[str]:
        """In the order in which tensors travel."""
        return sorted(self.shapes)

    @property
    def sizes(self) -> list[int]:
        """Values of each tensor, in the order of `names`."""
        return [math.prod(self.shapes[name][1]) for name in self.names]

    @property
    def num_blocks(self) -> int:
        """Blocks of the flat vector of all tensors; the last may be short."""
        return -(-sum(self.sizes) // self.block)

    @property
    def packed_bytes(self) -> int:
        """What travels."""
        if self.form == "lossless":
            return self.tensor_bytes
        if self.form == "bfloat16":
            return 2 * sum(self.sizes)
        return SCALE_BYTES * self.num_blocks + sum(self.sizes)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the tensors in their own dtypes."""
        dtypes = (dtype_of(self.shapes[name][0]) for name in self.names)
        return sum(size * dtype.itemsize for size, dtype in zip(self.sizes, dtypes, strict=True))

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal: both sides compare it before the first message."""
        fields = {"tensors": dict(self.shapes), "form": self.form, "block": self.block}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def layout_of(tensors: Mapping[str, Tensor], form: Form, block: int = 64) -> Layout:
    """The layout of tensors just like these."""
    return Layout(shapes_of(tensors), form, block)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor.

    >>> shapes_of({"w": torch.zeros(2, 3)})
    {'w': ('float32', (2, 3))}
    """
    return {
        name: (str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for name, value in tensors.items()
    }


def dtype_of(name: str) -> torch.dtype:
    """PyTorch's dtype of a name of `DTYPES`."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def pack(values: Mapping[str, Tensor], layout: Layout) -> Tensor:
    """The values as `layout.packed_bytes` bytes, on the CPU.

    In int8 a block's scale is its largest absolute value / 127, or the least normal float32 where
    that is larger; every value comes back within half a scale, but for the rounding of float32.

    Args:
        values: With the layout's names and shapes. In lossless also with its dtypes; the lossy
            forms take any floating-point dtype, by way of float32.
        layout: What both sides agreed on.

    Raises:
        ConsortiumError: If a value is not finite, or too large for the form.
        ValueError: If names, shapes or dtypes are not the layout's.

    >>> values = {"w": torch.tensor([127.0, -0.6, 0.0]), "v": torch.tensor(2.0)}
    >>> pack(values, layout_of(values, "int8", block=4)).view(torch.int8).tolist()  # scale 1
    [0, 0, -128, 63, 2, 127, -1, 0]
    """
    check_like(values, layout)
    sent = [_as_sent(name, values[name], layout) for name in layout.names]
    if layout.form == "int8":
        return _encode_blocks(sent, layout)
    return torch.cat([torch.zeros(0, dtype=torch.uint8), *(_to_bytes(value) for value in sent)])


def unpack(packed: Tensor, layout: Layout) -> dict[str, Tensor]:
    """The values that `pack` was given, as exactly as the form keeps them.

    Returns:
        Tensors in the layout's dtypes that own their memory, on the CPU.

    Raises:
        ConsortiumError: If these bytes are none that `pack` makes of finite values.

    >>> values = {"w": torch.tensor([127.0, -0.6, 0.0])}
    >>> layout = layout_of(values, "int8")
    >>> unpack(pack(values, layout), layout)
    {'w': tensor([127.,  -1.,   0.])}
    """
    share = layout.form == "int8"  # the decoded blocks are one vector
    values = {
        name: value.to(dtype_of(layout.shapes[name][0]), copy=share)
        for name, value in unpack_as_sent(packed, layout).items()
    }
    for name, value in values.items():
        _check_finite(name, value)
    return values


def unpack_as_sent(packed: Tensor, layout: Layout) -> dict[str, Tensor]:
    """The values before they are rounded to the layout's dtypes.

    Returns:
        In lossless the tensors, in bfloat16 such; in int8 parts of one float32 vector.

    Raises:
        ConsortiumError: As `unpack`.
    """
    if packed.dtype != torch.uint8 or packed.shape != (layout.packed_bytes,):
        raise ConsortiumError(
            f"packed tensors arrived as {packed.dtype} {list(packed.shape)} where "
            f"{layout.packed_bytes} bytes were due. Run the same configuration and the same "
            "version of coplms on every member."
        )
    if layout.form == "int8":
        pieces = _decode_blocks(packed, layout).split_with_sizes(layout.sizes)
    else:
        dtypes = [_dtype_as_sent(name, layout) for name in layout.names]
        lengths = [n * dtype.itemsize for n, dtype in zip(layout.sizes, dtypes, strict=True)]
        parts = packed.cpu().split_with_sizes(lengths)
        pieces = tuple(_from_bytes(part, dtype) for part, dtype in zip(parts, dtypes, strict=True))
    values = {
        name: piece.view(layout.shapes[name][1])
        for name, piece in zip(layout.names, pieces, strict=True)
    }
    for name, value in values.items():
        _check_finite(name, value)
    return values


def check_like(values: Mapping[str, Tensor], layout: Layout) -> None:
    """Make sure that the values are the layout's.

    Raises:
        ValueError: If names, shapes or dtypes differ; in the lossy forms any floating-point dtype
            will do.
    """
    differing = sorted(values.keys() ^ layout.shapes.keys())
    if differing:
        raise ValueError(f"only one of values and layout has '{differing[0]}'")
    for name, found in shapes_of(values).items():
        dtype, shape = layout.shapes[name]
        if found[1] != tuple(shape):
            raise ValueError(f"'{name}' has shape {found[1]}, its layout {tuple(shape)}")
        any_float = layout.form != "lossless" and dtype_of(found[0]).is_floating_point
        if found[0] != dtype and not any_float:
            raise ValueError(f"'{name}' is {found[0]}, in its layout {dtype}")


def _dtype_as_sent(name: str, layout: Layout) -> torch.dtype:
    if layout.form == "lossless":
        return dtype_of(layout.shapes[name][0])
    return torch.bfloat16 if layout.form == "bfloat16" else torch.float32


def _as_sent(name: str, value: Tensor, layout: Layout) -> Tensor:
    """The value in the dtype that is sent or cut into blocks, finite, on the CPU."""
    value = value.detach().cpu()
    if layout.form != "lossless":
        value = value.to(torch.float32)  # in two steps from float64, as `pack` says
    value = value.to(_dtype_as_sent(name, layout))
    _check_finite(name, value)
    return value


def _check_finite(name: str, value: Tensor) -> None:
    if not value.is_floating_point() or value.numel() == 0:
        return
    low, high = value.aminmax()  # both NaN where any value is
    if not (low.isfinite() and high.isfinite()):
        raise ConsortiumError(
            f"values of '{name}' are not finite, or too large for the form they travel in. "
            "Training diverged: lower optimizer.learning_rate, or use dtype float32."
        )


def _encode_blocks(values: Sequence[Tensor], layout: Layout) -> Tensor:
    """Scales, then codes."""
    blocks = torch.zeros(layout.num_blocks, layout.block)  # the last one filled up with zeros
    flat = blocks.view(-1)[: sum(layout.sizes)]
    for piece, value in zip(flat.split_with_sizes(layout.sizes), values, strict=True):
        piece.view(value.shape).copy_(value)
    largest = torch.maximum(blocks.amax(dim=1), blocks.amin(dim=1).neg())
    scales = largest.div_(MAX_CODE).clamp_(_LEAST_SCALE, _MOST_SCALE)
    blocks.div_(scales[:, None]).round_()
    packed = torch.empty(layout.packed_bytes, dtype=torch.uint8)
    packed[: SCALE_BYTES * layout.num_blocks] = _to_bytes(scales)
    packed[SCALE_BYTES * layout.num_blocks :].view(torch.int8).copy_(flat)
    return packed


def _decode_blocks(packed: Tensor, layout: Layout) -> Tensor:
    """Codes times scales, as one float32 vector.

    Raises:
        ConsortiumError: If a scale or a code is none that `_encode_blocks` makes.
    """
    packed = packed.cpu()
    border = SCALE_BYTES * layout.num_blocks
    scales = _from_bytes(packed[:border], torch.float32)
    wrong = ~((scales >= 0) & (scales <= _MOST_SCALE))  # NaN is neither
    if wrong.any():
        raise ConsortiumError(
            f"packed tensors arrived in which block {int(wrong.nonzero()[0])} has the scale "
            f"{scales[wrong][0].item()}, which no block of finite values has. Send them again."
        )
    codes = packed[border:].view(torch.int8)
    if (codes < -MAX_CODE).any():
        raise ConsortiumError(
            f"packed tensors arrived with the code {-MAX_CODE - 1}, which stands for nothing. "
            "Send them again."
        )
    blocks = torch.zeros(layout.num_blocks, layout.block)
    flat = blocks.view(-1)[: codes.numel()]
    flat.copy_(codes)
    blocks.mul_(scales[:, None])
    return flat


def _to_bytes(value: Tensor) -> Tensor:
    """Little-endian bytes; where nothing has to be moved, in the value's own memory."""
    return _little_endian(value.reshape(-1).view(torch.uint8), value.dtype)


def _from_bytes(data: Tensor, dtype: torch.dtype) -> Tensor:
    """A new vector from its little-endian bytes.

    Raises:
        ConsortiumError: If a byte of a bool is neither 0 nor 1.
    """
    if dtype == torch.bool and (data > 1).any():
        raise ConsortiumError(
            "packed tensors arrived with a bool that is neither true nor false. Send them again."
        )
    return _little_endian(data.clone(), dtype).view(dtype)  # a copy is aligned, as views need it


def _little_endian(data: Tensor, dtype: torch.dtype) -> Tensor:
    """This machine's bytes turned into little-endian ones, and back."""
    if sys.byteorder == "little":
        return data
    return data.view(-1, dtype.itemsize).flip(1).view(-1)
