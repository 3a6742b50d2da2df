from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from coplms.data.draw import apportion, sample, stratified_shuffle
from coplms.data.example import Example

EXAMPLES = [
    Example("", f"{domain}{number}", ("x",), domain, domain, "")
    for domain, count in (("a", 60), ("b", 30), ("c", 10))
    for number in range(count)
]


def test_the_shuffle_keeps_every_example_once():
    shuffled = stratified_shuffle(EXAMPLES, seed=3)
    assert Counter(shuffled) == Counter(EXAMPLES)
    assert shuffled == stratified_shuffle(EXAMPLES, seed=3)
    assert shuffled != stratified_shuffle(EXAMPLES, seed=4)


def test_every_beginning_mixes_the_domains_like_the_whole():
    shuffled = stratified_shuffle(EXAMPLES, seed=3)
    for length in (10, 25, 50, 90):
        counts = Counter(example.domain for example in shuffled[:length])
        for domain, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
            assert abs(counts[domain] - share * length) <= 2


def test_a_sample_has_the_size_asked_for():
    assert len(sample(EXAMPLES, 7, seed=0)) == 7
    assert sample(EXAMPLES, None, seed=0) == tuple(EXAMPLES)
    assert sample(EXAMPLES, 1000, seed=0) == tuple(EXAMPLES)


def test_the_largest_remainder_gets_what_rounding_leaves():
    assert apportion(7, [0.5, 0.3, 0.2]) == [4, 2, 1]  # 3.5, 2.1, 1.4
    assert apportion(1, [0.5, 0.5]) == [1, 0]


@given(st.integers(0, 500), st.lists(st.floats(0.001, 1), min_size=1, max_size=8))
def test_counts_sum_to_the_total_and_miss_their_share_by_less_than_one(total, weights):
    shares = [weight / sum(weights) for weight in weights]
    counts = apportion(total, shares)
    assert sum(counts) == total
    assert all(
        abs(count - total * share) < 1 + 1e-9 for count, share in zip(counts, shares, strict=True)
    )
