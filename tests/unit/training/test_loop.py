import pytest
import torch
from torch import nn

from coplms.config.method import OptimizerConfig
from coplms.training.loop import LOG_EVERY, StepLoss, optimize, training
from coplms.training.part import Part

CONFIG = OptimizerConfig(warmup_fraction=0.0)


def make_part(name: str = "p") -> tuple[Part, nn.Parameter]:
    parameter = nn.Parameter(torch.zeros(2))
    return Part(name, {"w": parameter}, CONFIG, 0.1, 100), parameter


def step_loss(parameter: nn.Parameter, value: float, share: float = 1.0) -> StepLoss:
    """A step, or a piece of one: 5 tokens read and 2 predicted, in 8 places."""
    loss = (parameter - 1).pow(2).sum() * share
    metrics = {"loss": torch.tensor(value) * share}
    return StepLoss(loss, metrics, tokens=5, answer_tokens=2, places=8)


def test_one_backward_pass_serves_all_parts() -> None:
    left, left_weight = make_part("left")
    right, right_weight = make_part("right")

    def loss() -> StepLoss:
        total = (left_weight - 1).pow(2).sum() + (right_weight + 1).pow(2).sum()
        return StepLoss(total, {}, 1, 1, 1)

    optimize([left, right], [[loss]] * 3, 3, lambda row: None)
    assert left.steps_taken == right.steps_taken == 3
    assert (left_weight > 0).all()
    assert (right_weight < 0).all()


def test_metrics_are_averaged_over_the_interval_and_logged_with_the_last_step() -> None:
    part, weight = make_part()
    steps = LOG_EVERY + 2
    rows: list[dict[str, float]] = []
    losses = [[lambda value=value: step_loss(weight, value)] for value in range(steps)]
    latest = optimize([part], losses, steps, rows.append)
    assert [row["step"] for row in rows] == [LOG_EVERY, steps]
    assert [row["loss"] for row in rows] == [(LOG_EVERY - 1) / 2, LOG_EVERY + 0.5]
    assert all(row["steps"] == steps for row in rows)
    assert latest == {"loss": LOG_EVERY + 0.5}


def test_speed_counts_tokens_and_answer_tokens_but_no_padding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter([100.0, 104.0, 200.0, 202.0, 300.0])
    monkeypatch.setattr("coplms.training.loop.time.perf_counter", lambda: next(now))
    part, weight = make_part()
    rows: list[dict[str, float]] = []
    steps = LOG_EVERY + 2
    optimize([part], [[lambda: step_loss(weight, 1.0)]] * steps, steps, rows.append)
    # 10 steps in 4 seconds, then 2 steps in 2 seconds.
    assert [row["tokens_per_second"] for row in rows] == [50 / 4, 10 / 2]
    assert [row["answer_tokens_per_second"] for row in rows] == [20 / 4, 4 / 2]
    assert [row["padding"] for row in rows] == [3 / 8, 3 / 8]


def test_the_clock_is_read_after_the_device_has_done_its_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Metric(torch.Tensor):
        def __float__(self) -> float:
            events.append("wait")
            return 1.0

    def clock() -> float:
        events.append("clock")
        return float(len(events))

    monkeypatch.setattr("coplms.training.loop.time.perf_counter", clock)
    part, weight = make_part()
    loss = StepLoss((weight - 1).sum(), {"loss": torch.ones(()).as_subclass(Metric)}, 1, 1, 1)
    optimize([part], [[lambda: loss]], 1, lambda row: None)
    assert events[:3] == ["clock", "wait", "clock"]


def test_pieces_of_a_batch_make_one_step_by_their_shares() -> None:
    whole, whole_weight = make_part()
    pieced, pieced_weight = make_part()
    optimize([whole], [[lambda: step_loss(whole_weight, 2.0)]], 1, lambda row: None)
    pieces = [
        lambda: step_loss(pieced_weight, 1.0, share=0.75),
        lambda: step_loss(pieced_weight, 5.0, share=0.25),
    ]
    latest = optimize([pieced], [pieces], 1, lambda row: None)
    assert pieced.steps_taken == 1
    assert latest["loss"] == 2.0
    torch.testing.assert_close(whole_weight, pieced_weight)


def test_no_steps_are_no_metrics() -> None:
    part, _ = make_part()
    assert optimize([part], [], 0, lambda row: None) == {}


def test_exactly_the_given_parts_take_gradients_while_training() -> None:
    learning, learns = make_part("learning")
    frozen, stays = make_part("frozen")
    with training([learning], [frozen, learning]):
        assert learns.requires_grad
        assert not stays.requires_grad
    assert not learns.requires_grad


def test_training_ends_when_the_block_fails() -> None:
    part, weight = make_part()
    with pytest.raises(RuntimeError, match="stopped"), training([part]):
        raise RuntimeError("stopped")
    assert not weight.requires_grad
