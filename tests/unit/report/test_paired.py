"""`coplms.report.paired`: the sign-flip test, against cases counted by hand."""

import numpy as np
import pytest

from coplms.report.paired import sign_flip_test


@pytest.mark.parametrize(
    ("differences", "wanted"),
    [
        ([], 1.0),
        ([2.0], 1.0),  # + and -
        ([1.0, 1.0], 0.5),  # ++ and -- of four
        ([1.0, -1.0], 1.0),  # a sum of 0 is the least
        ([1.0, 2.0, 3.0, 4.0, -1.0], 6 / 32),  # sums of 9 or more: all +, or less a 1; mirrored
        ([0.0, 0.0, 0.0], 1.0),
    ],
)
def test_of_all_patterns_of_signs_those_as_far_from_zero_count(
    differences: list[float], wanted: float
) -> None:
    assert sign_flip_test(differences) == pytest.approx(wanted)


def test_the_direction_does_not_matter() -> None:
    values = [0.3, -0.1, 0.7, 0.2, 0.4]
    assert sign_flip_test(values) == sign_flip_test([-value for value in values])


def test_many_pairs_are_sampled_to_about_the_same() -> None:
    values = list(np.random.default_rng(1).normal(0.4, 1.0, 17))
    exact = sign_flip_test(values[:16])
    sampled = sign_flip_test([*values[:16], 0.0])  # a pair without a difference changes nothing
    assert sampled == pytest.approx(exact, abs=0.01)


def test_equal_methods_are_rarely_told_apart() -> None:
    generator = np.random.default_rng(2)
    found = [sign_flip_test(list(generator.normal(0, 1, 8))) for _ in range(300)]
    assert sum(p < 0.05 for p in found) / 300 < 0.09
