import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from coplms.config.method import OptimizerConfig
from coplms.errors import RunError
from coplms.training.part import Part


def make_part(
    planned: int = 10, dtype: torch.dtype = torch.float32, **settings: float
) -> tuple[Part, nn.Linear]:
    torch.manual_seed(1)
    layer = nn.Linear(3, 2, dtype=dtype)
    part = Part("p", dict(layer.named_parameters()), OptimizerConfig(**settings), 0.1, planned)
    return part, layer


def train(part: Part, layer: nn.Linear, first: int, last: int) -> None:
    for step in range(first, last):
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        layer(inputs.to(layer.weight.dtype)).pow(2).sum().backward()
        part.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_continues_bit_for_bit_from_a_stored_state(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    whole, layer = make_part(dtype=dtype)
    train(whole, layer, 0, 7)
    first, first_layer = make_part(dtype=dtype)
    train(first, first_layer, 0, 4)
    save_file(first.state(), tmp_path / "part.safetensors")
    second, second_layer = make_part(dtype=dtype)
    train(second, second_layer, 0, 2)  # its own past must not matter
    second.load_state(load_file(tmp_path / "part.safetensors"))
    train(second, second_layer, 4, 7)
    expected, found = whole.state(), second.state()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
        assert tensor.dtype == found[name].dtype


def test_a_state_before_the_first_step_has_no_moments() -> None:
    part, layer = make_part()
    state = part.state()
    assert sorted(state) == ["steps_taken", "value/bias", "value/weight"]
    train(part, layer, 0, 3)
    part.load_state(state)
    assert part.steps_taken == 0
    assert sorted(part.state()) == sorted(state)


def test_the_rate_rises_then_falls_by_a_cosine_to_its_last_part() -> None:
    part, layer = make_part(10, warmup_fraction=0.2, final_fraction=0.1)
    rates = []
    for step in range(12):
        rates.append(part.current_learning_rate())
        train(part, layer, step, step + 1)
    # Warm-up of 2 steps: half the peak, then the peak; the cosine has 8 steps from 2 to 10.
    assert rates[0] == pytest.approx(0.05)
    assert rates[1] == pytest.approx(0.1)
    assert rates[5] == pytest.approx(0.1 * (0.1 + 0.9 / 2))
    assert rates[7] == pytest.approx(0.1 * (0.1 + 0.9 * (1 + math.cos(0.75 * math.pi)) / 2))
    assert rates[9] == rates[10] == rates[11] == pytest.approx(0.01)


def test_gradients_are_scaled_down_to_the_clip_norm() -> None:
    part, layer = make_part(clip_norm=1.0, betas=(0.5, 0.5))
    layer.weight.grad = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    layer.bias.grad = torch.tensor([4.0, 0.0])
    assert part.step().item() == pytest.approx(5.0)
    state = part.state()  # first moments: half of (3, 4) / 5
    assert state["exp_avg/weight"][0, 0].item() == pytest.approx(0.3, abs=1e-5)
    assert state["exp_avg/bias"].tolist() == pytest.approx([0.4, 0.0], abs=1e-5)


def test_smaller_gradients_are_left_alone() -> None:
    part, layer = make_part(clip_norm=10.0, betas=(0.5, 0.5))
    layer.weight.grad = torch.ones(2, 3)
    layer.bias.grad = torch.zeros(2)
    part.step()
    assert part.state()["exp_avg/weight"].tolist() == [[0.5] * 3] * 2


def test_the_first_step_moves_every_weight_by_the_rate_against_its_gradient() -> None:
    part, layer = make_part(warmup_fraction=0.0, weight_decay=0.0)
    before = part.values()
    rate = part.current_learning_rate()
    layer.weight.grad = torch.tensor([[0.1, -0.1, 0.2], [0.1, 0.1, -0.3]])
    layer.bias.grad = torch.tensor([0.1, 0.1])
    signs = layer.weight.grad.sign().clone()
    part.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] - rate * signs)


def test_only_matrices_decay() -> None:
    part, layer = make_part(weight_decay=0.5, warmup_fraction=0.0)
    before = part.values()
    rate = part.current_learning_rate()
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 3), torch.zeros(2)
    part.step()
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * (1 - rate * 0.5))
    assert torch.equal(layer.bias.detach(), before["bias"])


def test_a_step_consumes_the_gradients() -> None:
    part, layer = make_part()
    train(part, layer, 0, 1)
    assert layer.weight.grad is None
    assert part.steps_taken == 1


def test_values_are_copies_in_the_parameters_own_dtype() -> None:
    part, layer = make_part(dtype=torch.bfloat16)
    values = part.values()
    assert values["weight"].dtype == torch.bfloat16
    values["weight"].zero_()
    assert layer.weight.abs().sum() > 0


def test_loaded_values_leave_the_moments_alone() -> None:
    part, layer = make_part()
    train(part, layer, 0, 2)
    before = part.state()
    part.load_values({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
    after = part.state()
    assert after["value/weight"].eq(1).all()
    assert torch.equal(before["exp_avg/weight"], after["exp_avg/weight"])
    assert torch.equal(before["exp_avg_sq/bias"], after["exp_avg_sq/bias"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "part 'p': only one side has bias"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)},
            "part 'p': only one side has more",
        ),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"bias has shape \(3,\), expected"),
    ],
)
def test_values_of_another_model_are_refused_and_change_nothing(
    values: dict[str, Tensor], message: str
) -> None:
    part, _ = make_part()
    before = part.values()
    with pytest.raises(RunError, match=message):
        part.load_values(values)
    for name, tensor in part.values().items():
        assert torch.equal(tensor, before[name])


def test_a_part_that_is_not_trainable_holds_no_gradient() -> None:
    part, layer = make_part()
    layer(torch.ones(1, 3)).sum().backward()
    part.set_trainable(trainable=False)
    assert layer.weight.grad is None
    assert not layer.weight.requires_grad
    part.set_trainable(trainable=True)
    assert layer.bias.requires_grad
