"""`coplms.models.zoo_copying`: sequences that teach a model to copy."""

import json
from pathlib import Path

import pytest
import torch

from coplms.models import zoo_training
from coplms.models.zoo import LOSSES, build_zoo
from coplms.models.zoo_copying import COPY_TOKENS, copies

from .test_zoo import TEXTS, assert_same_weights, tiny, zoo

KNOWN = torch.arange(10, 500)


def drawn(progress: float, seed: int = 0) -> torch.Tensor:
    return copies(64, KNOWN, progress, torch.Generator().manual_seed(seed))


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / LOSSES).read_text().splitlines()]


def period(sequence: torch.Tensor) -> int:
    """After how many tokens it repeats itself."""
    return next(
        lag
        for lag in range(1, len(sequence))
        if torch.equal(sequence[lag:], sequence[: len(sequence) - lag])
    )


@pytest.mark.parametrize(
    ("progress", "count", "longest"), [(0.0, 64, 12), (0.24, 64, 12), (0.25, 16, 32), (1.0, 16, 32)]
)
def test_short_periods_come_first_and_fewer_longer_ones_beside_text(
    progress: float, count: int, longest: int
) -> None:
    sequences = drawn(progress)
    assert sequences.shape == (count, COPY_TOKENS + 1)
    periods = {period(sequence) for sequence in sequences}
    assert min(periods) >= 3
    assert longest / 2 < max(periods) <= longest


def test_only_known_tokens_are_drawn_and_by_the_seed_alone() -> None:
    assert torch.isin(drawn(0.3), KNOWN).all()
    assert torch.equal(drawn(0.3), drawn(0.3))
    assert not torch.equal(drawn(0.3), drawn(0.3, seed=1))


def test_a_build_with_copies_makes_other_weights_and_repeats(tmp_path: Path) -> None:
    config = zoo(tiny(steps=40, copies=4))
    first, again = (build_zoo(config, TEXTS, tmp_path / name)["a"] for name in "ab")
    assert_same_weights(first, again)
    plain = build_zoo(zoo(tiny(steps=40)), TEXTS, tmp_path / "a")["a"]
    with pytest.raises(AssertionError):
        assert_same_weights(first, plain)
    assert [set(row) for row in losses(first)] == [{"step", "copying", "loss"}] * 2
    assert [set(row) for row in losses(plain)] == [{"step", "loss"}] * 2


def test_text_comes_after_a_quarter_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo_training, "REPORT_STEPS", 1)
    built = build_zoo(zoo(tiny(steps=8, copies=4)), TEXTS, tmp_path)["a"]
    assert ["loss" in row for row in losses(built)] == [False] * 2 + [True] * 6
