import hashlib
import math
import sys
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from coplms.errors import ConsortiumError, RunError
from coplms.transport.feedback import Sender, receive
from coplms.transport.packing import Layout, layout_of, pack, unpack

LOSSY = ["bfloat16", "int8"]
FORMS = ["lossless", *LOSSY]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
SHAPES = {"w": (3, 5), "none": (0, 4), "one": (), "odd": (7,)}
"""23 values: an empty tensor, a scalar, and a last block that is short."""


def values(*shape: int, seed: int = 0, size: float = 1.0) -> Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw(seed: int, size: float = 1.0) -> dict[str, Tensor]:
    shapes = enumerate(SHAPES.items(), start=10 * seed)
    return {name: values(*shape, seed=number, size=size) for number, (name, shape) in shapes}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether names, dtypes, shapes and every bit are equal."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and bits(left[name]) == bits(right[name])
        for name in left
    )


def bits(value: Tensor) -> list[int]:
    return value.contiguous().view(-1).view(torch.uint8).tolist()


def refusal(packed: Tensor, layout: Layout) -> str:
    zeros = {
        name: torch.zeros(shape, dtype=getattr(torch, dtype))
        for name, (dtype, shape) in layout.shapes.items()
    }
    with pytest.raises(ConsortiumError) as received:
        receive(packed, layout, zeros)
    with pytest.raises(ConsortiumError) as unpacked:
        unpack(packed, layout)
    assert str(received.value) == str(unpacked.value)
    return str(unpacked.value)


def tampered(packed: Tensor, place: int, new: bytes) -> Tensor:
    changed = packed.clone()
    changed[place : place + len(new)] = torch.tensor(list(new), dtype=torch.uint8)
    return changed


# Hand-worked values


def test_lossless_is_the_bytes_of_the_tensors_by_name():
    tensors = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor(258, dtype=torch.int16)}
    packed = pack(tensors, layout_of(tensors, "lossless"))
    assert packed.tolist() == [2, 1, 0, 0, 128, 63, 0, 0, 0, 192]


def test_bfloat16_keeps_the_upper_half_of_a_float32():
    tensors = {"w": torch.tensor([1.0, -2.0, 1.00390625])}  # 1 + 2**-8 lies between: to even
    packed = pack(tensors, layout_of(tensors, "bfloat16"))
    assert packed.tolist() == [128, 63, 0, 192, 128, 63]


def test_int8_is_a_scale_per_block_and_a_code_per_value():
    tensors = {"a": torch.tensor([254.0, -2.0]), "b": torch.tensor([[3.0], [-63.5], [0.2]])}
    layout = layout_of(tensors, "int8", block=3)
    packed = pack(tensors, layout)
    assert packed[:8].view(torch.float32).tolist() == [2.0, 0.5]
    assert packed[8:].view(torch.int8).tolist() == [127, -1, 2, -127, 0]  # 1.5 goes to even
    back = unpack(packed, layout)
    assert back["a"].tolist() == [254.0, -2.0]
    assert back["b"].tolist() == [[4.0], [-63.5], [0.0]]


def test_what_a_message_lost_comes_with_the_next():
    sender = Sender("up", Layout({"w": ("float32", (2,))}, "int8"))
    held = {"w": torch.tensor([10.0, 20.0])}
    sender.pack({"w": held["w"] + torch.tensor([127.0, 0.375])}, held)
    assert sender.state()["residual/w"].tolist() == [0.0, 0.375]
    packed = sender.pack({"w": held["w"] + torch.tensor([127.0, 0.25])}, held)
    assert receive(packed, sender.layout, held)["w"].tolist() == [137.0, 21.0]  # 0.625 -> 1
    assert sender.state()["residual/w"].tolist() == [0.0, -0.375]


# Layouts


@pytest.mark.parametrize(
    ("form", "block", "expected"),
    [
        ("lossless", 64, 4 * 23),
        ("bfloat16", 64, 2 * 23),
        ("int8", 64, 4 + 23),
        ("int8", 8, 12 + 23),
        ("int8", 23, 4 + 23),
        ("int8", 22, 8 + 23),
    ],
)
def test_packed_bytes_are_known_before(form, block, expected):
    layout = layout_of(draw(0), form, block)
    assert layout.packed_bytes == expected == len(pack(draw(0), layout))
    assert layout.tensor_bytes == 4 * 23


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tensors", [{}, {"none": torch.zeros(0, 4)}], ids=["none", "empty"])
def test_nothing_can_travel(form, tensors):
    layout = layout_of(tensors, form)
    assert (layout.packed_bytes, layout.tensor_bytes) == (0, 0)
    packed = pack(tensors, layout)
    assert packed.shape == (0,)
    assert same(unpack(packed, layout), tensors)
    assert same(receive(packed, layout, tensors), tensors)


def test_a_layout_differs_where_anything_does():
    shapes = {"w": ("float32", (2, 3)), "b": ("float32", (6,))}
    layouts = [
        Layout(shapes, "int8"),
        Layout({"w": shapes["w"], "c": shapes["b"]}, "int8"),
        Layout({"w": shapes["w"]}, "int8"),
        Layout({**shapes, "w": ("float32", (3, 2))}, "int8"),
        Layout({**shapes, "w": ("float16", (2, 3))}, "int8"),
        Layout({"w": shapes["b"], "b": shapes["w"]}, "int8"),
        Layout(shapes, "bfloat16"),
        Layout(shapes, "lossless"),
        Layout(shapes, "int8", block=65),
    ]
    assert len({layout.digest for layout in layouts}) == len(layouts)


def test_equal_layouts_have_equal_digests_in_whatever_order():
    turned = dict(reversed(draw(0).items()))
    assert layout_of(turned, "int8").digest == layout_of(draw(1), "int8").digest
    text = b'{"block":64,"form":"lossless","tensors":{"w":["float32",[2]]}}'
    digest = Layout({"w": ("float32", (2,))}, "lossless").digest
    assert digest == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_only_floats_take_a_lossy_form(form, dtype):
    tensors = {"steps": torch.zeros(2, dtype=dtype)}
    with pytest.raises(ValueError, match=r"'steps' is \w+, which travels in 'lossless' only"):
        layout_of(tensors, form)
    with pytest.raises(ValueError, match="'steps' is"):
        pack(tensors, Layout({"steps": ("float32", (2,))}, form))


@pytest.mark.parametrize(
    ("dtype", "form", "block", "text"),
    [
        ("float32", "int4", 64, "form is 'int4'; known: lossless, bfloat16, int8"),
        ("float32", "int8", 0, "block must be above 0"),
        ("complex64", "lossless", 64, "'w' is complex64"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(dtype, form, block, text):
    with pytest.raises(ValueError, match=text):
        Layout({"w": (dtype, (1,))}, form, block)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({}, "only one of values and layout has 'w'"),
        ({"w": torch.zeros(2), "v": torch.zeros(2)}, "only one of values and layout has 'v'"),
        ({"w": torch.zeros(1, 2)}, r"'w' has shape \(1, 2\), its layout \(2,\)"),
    ],
)
def test_other_values_than_the_layouts_are_refused(form, tensors, text):
    layout = Layout({"w": ("float32", (2,))}, form)
    with pytest.raises(ValueError, match=text):
        pack(tensors, layout)
    with pytest.raises(ValueError, match=text):
        Sender("up", layout).pack(tensors, {"w": torch.zeros(2)})
    if form != "lossless":
        with pytest.raises(ValueError, match=text):
            Sender("up", layout).pack({"w": torch.zeros(2)}, tensors)
        with pytest.raises(ValueError, match=text):
            receive(torch.zeros(layout.packed_bytes, dtype=torch.uint8), layout, tensors)


def test_lossless_takes_no_other_dtype():
    with pytest.raises(ValueError, match="'w' is float16, in its layout float32"):
        pack({"w": torch.zeros(2).half()}, Layout({"w": ("float32", (2,))}, "lossless"))


# What comes back


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_lossless_keeps_every_bit(dtype):
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        least = info.smallest_normal * info.eps  # the smallest denormal
        numbers = [0.0, -0.0, least, -least, info.max, info.min, 1 / 3, -1.5]
    else:
        numbers = [0, 1] if dtype == torch.bool else [0, 1, torch.iinfo(dtype).min, 100]
    value = torch.tensor(numbers, dtype=dtype)
    tensors = {"a": torch.ones(3, dtype=torch.uint8), "b": value, "c": value[1], "d": value[:0]}
    layout = layout_of(tensors, "lossless")
    packed = pack(tensors, layout)
    assert len(packed) == layout.packed_bytes == layout.tensor_bytes
    assert same(unpack(packed, layout), tensors)
    assert same(receive(packed, layout, {}), tensors)


def test_a_packed_array_may_lie_anywhere_in_memory():
    tensors = draw(0)
    for form in FORMS:
        layout = layout_of(tensors, form)
        buffer = torch.zeros(layout.packed_bytes + 1, dtype=torch.uint8)
        buffer[1:] = pack(tensors, layout)
        assert same(unpack(buffer[1:], layout), unpack(pack(tensors, layout), layout))


@pytest.mark.parametrize("form", FORMS)
def test_parameters_and_strided_tensors_can_be_packed(form):
    value = values(3, 4)
    tensors = {"p": torch.nn.Parameter(value), "t": value.T, "tied": value}
    plain = {"p": value, "t": value.T.contiguous(), "tied": value}
    layout = layout_of(tensors, form)
    packed = pack(tensors, layout)
    assert torch.equal(packed, pack(plain, layout))
    assert not any(value.requires_grad for value in receive(packed, layout, tensors).values())


@pytest.mark.parametrize("form", FORMS)
def test_what_came_can_be_changed_in_place(form):
    tensors = draw(0)
    sender = Sender("up", layout_of(tensors, form))
    packed = sender.pack(tensors, draw(1))
    before = packed.clone()
    for back in (unpack(packed, sender.layout), receive(packed, sender.layout, draw(1))):
        assert len({value.untyped_storage().data_ptr() for value in back.values()}) == len(back)
        for value in back.values():
            value.fill_(7)
    assert torch.equal(packed, before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_float_travels_and_keeps_its_dtype(form, dtype):
    reference = {name: value.to(dtype) for name, value in draw(0).items()}
    tensors = {name: value + 0.125 for name, value in reference.items()}
    sender = Sender("up", layout_of(tensors, form))
    back = receive(sender.pack(tensors, reference), sender.layout, reference)
    for name, value in tensors.items():
        assert back[name].dtype == dtype
        change = (value - reference[name]).float()
        allowed = change.abs() / 128 + value.float().abs() * torch.finfo(dtype).eps
        assert ((back[name] - value).float().abs() <= allowed).all()


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(
    numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20),
    block=st.integers(1, 9),
)
def test_an_int8_value_is_at_most_half_a_scale_away(numbers, block):
    value = torch.tensor(numbers, dtype=torch.float32)
    layout = layout_of({"w": value}, "int8", block)
    packed = pack({"w": value}, layout)
    scales = packed[: 4 * layout.num_blocks].view(torch.float32)
    bound = scales.double().repeat_interleave(block)[: len(value)] * (0.5 + 1e-4)
    lost = value.double() - unpack(packed, layout)["w"].double()
    assert (lost.abs() <= bound).all()


@pytest.mark.parametrize("number", [0.0, 1e-45, -3e-43, 1e-38, 3.4028234663852886e38])
def test_zeros_denormals_and_the_largest_value_travel(number):
    tensors = {"w": torch.tensor([number, -number])}
    layout = layout_of(tensors, "int8")
    back = unpack(pack(tensors, layout), layout)["w"]
    assert (back - tensors["w"]).abs().max() <= max(1e-38, 1e-6 * number)


def test_a_scale_of_zero_is_taken():
    layout = Layout({"w": ("float32", (2,))}, "int8")
    packed = torch.tensor([0, 0, 0, 0, 3, 0], dtype=torch.uint8)
    assert unpack(packed, layout)["w"].tolist() == [0.0, 0.0]


def test_rounding_makes_no_infinity_of_a_float16():
    reference = {"w": torch.tensor([65000.0, -50000.0], dtype=torch.float16)}
    tensors = {"w": torch.tensor([65504.0, 50000.0], dtype=torch.float16)}
    sender = Sender("up", layout_of(tensors, "int8"))
    back = receive(sender.pack(tensors, reference), sender.layout, reference)["w"]
    assert back[0] == 65504  # one step of 787 would make 65787


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 10_000),
    form=st.sampled_from(FORMS),
    dtype=st.sampled_from(FLOATS),
    block=st.integers(1, 30),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e3]),
)
def test_both_sides_hold_the_same_bits(seed, form, dtype, block, size):
    held = {name: value.to(dtype) for name, value in draw(seed).items()}
    sender = Sender("up", layout_of(held, form, block))
    other_layout = layout_of(held, form, block)
    other_held = {name: value.clone() for name, value in held.items()}
    for step in range(3):
        change = draw(seed + step + 1, size)
        tensors = {name: (held[name].float() + change[name]).to(dtype) for name in held}
        packed = sender.pack(tensors, held)
        held = receive(packed, sender.layout, held)
        arrived = torch.frombuffer(bytearray(packed.numpy().tobytes()), dtype=torch.uint8)
        other_held = receive(arrived, other_layout, other_held)
        assert same(held, other_held)
        assert form != "lossless" or same(held, tensors)


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_residual_is_what_the_receiver_lacks(form, dtype):
    reference = {name: value.to(dtype) for name, value in draw(0).items()}
    sender = Sender("up", layout_of(reference, form, 4))
    lacking = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for seed in (1, 2, 3):
        tensors = {name: value.to(dtype) for name, value in draw(seed).items()}
        back = receive(sender.pack(tensors, reference), sender.layout, reference)
        for name in lacking:
            lacking[name] = (tensors[name].float() - back[name].float()) + lacking[name]
        assert same(
            {name: sender.state()[f"residual/{name}"] for name in lacking},
            lacking,
        )


# Error feedback


def bound_of(form: str, change: Tensor) -> float:
    """The most that one message of about this change can lose of a value."""
    largest = 1.01 * change.abs().max().item()
    return largest / 254 if form == "int8" else largest / 256


def send_often(sender: Sender, change: Tensor, times: int, *, feedback: bool) -> Tensor:
    """What has arrived after as many messages of the same change."""
    held = {"w": torch.zeros_like(change)}
    for _ in range(times):
        tensors = {"w": held["w"] + change}
        if not feedback:
            sender.load_state({})
        held = receive(sender.pack(tensors, held), sender.layout, held)
    return held["w"]


@pytest.mark.parametrize("form", LOSSY)
def test_feedback_keeps_a_sum_within_one_messages_error(form):
    change, times = values(100), 50
    layout = layout_of({"w": change}, form, 100)
    bound, rounding = bound_of(form, change), 1e-3
    sender = Sender("up", layout)
    fed = send_often(sender, change, times, feedback=True) - times * change
    assert fed.abs().max() <= bound + rounding
    assert sender.state()["residual/w"].abs().max() <= bound
    drifted = send_often(Sender("up", layout), change, times, feedback=False) - times * change
    assert drifted.abs().max() > 10 * bound


def test_what_is_too_small_for_a_value_is_still_remembered():
    """A residual of 1e-9 beside a value of 1: lost where they are added first."""
    sender = Sender("up", Layout({"w": ("float32", (2,))}, "int8"))
    held = {"w": torch.tensor([0.0, 1.0])}
    change = torch.tensor([1e-6, 0.0])
    sender.load_state({"packed": packed_zeros(sender), "residual/w": torch.tensor([0.0, 1e-9])})
    sender.pack({"w": held["w"] + change}, held)
    assert sender.state()["residual/w"][1].item() == pytest.approx(1e-9)


def packed_zeros(sender: Sender) -> Tensor:
    return torch.zeros(sender.layout.packed_bytes, dtype=torch.uint8)


def learn(form: str, *, feedback: bool, rounds: int = 300) -> Tensor:
    """Three devices descend on quadratics around points of their own; the server averages.

    Both directions are packed. Their goals stay apart, so changes and what they lose never vanish;
    where it is flat, a small loss moves the balance far.
    """
    goals = values(3, 16, seed=1)
    steepness = torch.linspace(0.02, 0.2, 16)
    shared = {"w": torch.full((16,), 3.0)}
    layout = layout_of(shared, form, 16)
    downlink, uplinks = Sender("down", layout), [Sender(f"up-{i}", layout) for i in range(3)]
    for _ in range(rounds):
        arrived = []
        for goal, uplink in zip(goals, uplinks, strict=True):
            if not feedback:
                uplink.load_state({})
            tensors = {"w": shared["w"] - steepness * (shared["w"] - goal)}
            arrived.append(receive(uplink.pack(tensors, shared), layout, shared)["w"])
        if not feedback:
            downlink.load_state({})
        average = {"w": torch.stack(arrived).mean(dim=0)}
        shared = receive(downlink.pack(average, shared), layout, shared)
    return shared["w"]


def test_learning_by_int8_messages_ends_where_lossless_learning_does():
    optimum = values(3, 16, seed=1).mean(dim=0)
    exact = learn("lossless", feedback=True)
    assert (exact - optimum).abs().max() < 0.01
    fed = (learn("int8", feedback=True) - exact).abs().max()
    unfed = (learn("int8", feedback=False) - exact).abs().max()
    assert fed < 2e-3
    assert unfed > 10 * fed


# Going on after a restart


@pytest.mark.parametrize("form", FORMS)
def test_a_restarted_sender_goes_on(form, tmp_path):
    held, layout = draw(0), layout_of(draw(0), form)
    sender, restarted = Sender("law/up", layout), Sender("law/up", layout)
    for seed in (1, 2):
        save_file(sender.state(), tmp_path / "state")
        restarted = Sender("law/up", layout)
        restarted.load_state(load_file(tmp_path / "state"))
        assert (restarted.packed is None) == (sender.packed is None)
        sender.pack(draw(seed), held)
        assert torch.equal(restarted.pack(draw(seed), held), sender.packed)
    save_file(sender.state(), tmp_path / "state")
    restarted.load_state(load_file(tmp_path / "state"))
    assert torch.equal(restarted.packed, sender.packed)
    assert same(restarted.state(), sender.state())
    assert sender.state().keys() == {"packed"} | (
        set() if form == "lossless" else {f"residual/{name}" for name in SHAPES}
    )


def test_the_state_before_any_message_forgets_later_ones():
    sender = Sender("law/up", layout_of(draw(0), "int8"))
    fresh = sender.pack(draw(1), draw(0))
    sender.load_state({})
    assert sender.packed is None
    assert sender.state() == {}
    assert torch.equal(sender.pack(draw(1), draw(0)), fresh)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", FORMS)
def test_the_state_of_another_form_is_refused(form, other):
    if form == other:
        return
    sender, stranger = (Sender("law/up", layout_of(draw(0), f)) for f in (form, other))
    sender.pack(draw(1), draw(0))
    stranger.pack(draw(1), draw(0))
    before = sender.state()
    with pytest.raises(RunError, match="part 'law/up': packed is not as its messages need it"):
        sender.load_state(stranger.state())
    assert same(sender.state(), before)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_values_that_are_not_finite_are_not_sent(bad, form, dtype):
    held = {name: value.to(dtype) for name, value in draw(0).items()}
    sender = Sender("law/up", layout_of(held, form))
    sender.pack({name: value + 1 for name, value in held.items()}, held)
    before = sender.state()
    broken = {**held, "odd": torch.full((7,), bad, dtype=dtype)}
    for act in (lambda: sender.pack(broken, held), lambda: pack(broken, sender.layout)):
        with pytest.raises(ConsortiumError, match=r"'odd' are not finite.*lower optimizer"):
            act()
    assert same(sender.state(), before)


@pytest.mark.parametrize("form", LOSSY)
def test_a_change_too_large_for_a_float32_is_not_sent(form):
    largest = {"w": torch.tensor([torch.finfo(torch.float32).max])}
    sender = Sender("law/up", layout_of(largest, form))
    with pytest.raises(ConsortiumError, match="'w' are not finite, or too large"):
        sender.pack(largest, {"w": -largest["w"]})


# Bytes from outside


@pytest.mark.parametrize("form", FORMS)
def test_another_size_is_refused(form):
    layout = layout_of(draw(0), form)
    packed = pack(draw(0), layout)
    longer = torch.cat([packed, packed[:1]])
    for wrong in (packed[:-1], longer, packed[:0], packed[None], packed.view(torch.int8)):
        assert f"{layout.packed_bytes} bytes were due" in refusal(wrong, layout)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_bytes_of_values_that_are_not_finite_are_refused(dtype, bad):
    tensors = {"v": torch.zeros(3, dtype=dtype), "w": torch.zeros(3, dtype=dtype)}
    layout = layout_of(tensors, "lossless")
    new = bytes(bits(torch.tensor(bad, dtype=dtype)))
    packed = tampered(pack(tensors, layout), 4 * dtype.itemsize, new)
    assert "values of 'w' are not finite" in refusal(packed, layout)


@pytest.mark.parametrize("bad", [b"\xc0\x7f", b"\x80\x7f", b"\x80\xff"])
def test_bytes_of_a_bfloat16_that_is_not_finite_are_refused(bad):
    tensors = {"v": torch.zeros(3), "w": torch.zeros(3)}
    layout = layout_of(tensors, "bfloat16")
    assert "values of 'w'" in refusal(tampered(pack(tensors, layout), 10, bad), layout)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, -1.0, -1e-45, 3.4e38])
def test_a_scale_that_no_block_has_is_refused(scale):
    tensors = {"w": torch.ones(3)}
    layout = layout_of(tensors, "int8", block=2)
    new = bytes(bits(torch.tensor(scale)))
    text = refusal(tampered(pack(tensors, layout), 4, new), layout)
    assert text.startswith("packed tensors arrived in which block 1 has the scale")


def test_the_code_that_stands_for_nothing_is_refused():
    tensors = {"w": torch.ones(3)}
    layout = layout_of(tensors, "int8")
    assert "with the code -128" in refusal(tampered(pack(tensors, layout), 6, b"\x80"), layout)


def test_a_value_that_its_dtype_cannot_hold_is_refused():
    layout = Layout({"w": ("float16", (1,))}, "int8")
    packed = pack({"w": torch.tensor([1e6])}, layout)
    with pytest.raises(ConsortiumError, match="'w' are not finite, or too large"):
        unpack(packed, layout)


def test_a_bool_that_is_neither_is_refused():
    tensors = {"mask": torch.tensor([True, False])}
    layout = layout_of(tensors, "lossless")
    assert "neither true nor false" in refusal(tampered(pack(tensors, layout), 1, b"\2"), layout)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(data=st.binary(min_size=12, max_size=12), form=st.sampled_from(FORMS))
def test_random_bytes_give_finite_values_or_a_consortium_error(data, form):
    sizes = {"lossless": 3, "bfloat16": 6, "int8": 4}
    layout = Layout({"w": ("float32", (sizes[form],))}, form, block=2)
    packed = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    reference = {"w": torch.full((sizes[form],), 3e38)}
    with suppress(ConsortiumError):
        assert receive(packed, layout, reference)["w"].isfinite().all()


def test_a_big_endian_machine_sends_the_same_bytes(monkeypatch):
    """Its own bytes stand the other way round, which a machine like this one sees turned."""
    tensors = {"a": torch.tensor([1.0, -2.0]), "h": torch.tensor([3.0]).half()}
    layout = layout_of(tensors, "lossless")
    packed = pack(tensors, layout).tolist()
    monkeypatch.setattr(sys, "byteorder", "big")
    assert pack(tensors, layout).tolist() == [*packed[3::-1], *packed[7:3:-1], *packed[9:7:-1]]
    assert same(unpack(pack(tensors, layout), layout), tensors)
