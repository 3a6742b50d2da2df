from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coplms.config.data import DirichletPartition, DomainPartition, IidPartition
from coplms.data.example import Example
from coplms.data.partition import partition
from coplms.errors import ConfigError, DataError


def make(**counts: int) -> list[Example]:
    return [
        Example("", f"{domain}{number}", ("x",), domain, domain, "")
        for domain, count in counts.items()
        for number in range(count)
    ]


def domains(examples: tuple[Example, ...]) -> Counter[str]:
    return Counter(example.domain for example in examples)


RULES = st.one_of(
    st.just(IidPartition()),
    st.just(DomainPartition()),
    st.builds(DirichletPartition, concentration=st.floats(1e-3, 1e3)),
)


@given(
    counts=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=1),
    num_devices=st.integers(1, 5),
    how=RULES,
    seed=st.integers(0, 10_000),
)
def test_a_partition_is_disjoint_complete_and_seeded(counts, num_devices, how, seed):
    examples, names = make(**counts), [f"d{number}" for number in range(num_devices)]
    try:
        shares = partition(examples, names, how, seed)
    except DataError:  # a device would be empty: has a test of its own
        return
    assert list(shares) == names
    assert all(shares.values())
    assert Counter(example for share in shares.values() for example in share) == Counter(examples)
    assert shares == partition(examples, names, how, seed)


def test_iid_gives_every_device_an_even_part_of_every_domain():
    shares = partition(make(a=9, b=4, c=2), ["x", "y", "z"], IidPartition(), seed=0)
    assert [len(share) for share in shares.values()] == [5, 5, 5]
    for domain, low, high in (("a", 3, 3), ("b", 1, 2), ("c", 0, 1)):
        assert all(low <= domains(share)[domain] <= high for share in shares.values())


def test_a_large_concentration_comes_close_to_iid():
    shares = partition(make(a=100), ["x", "y"], DirichletPartition(concentration=1e6), seed=0)
    assert [len(share) for share in shares.values()] == [50, 50]


def test_a_small_concentration_gives_a_domain_to_one_device():
    examples = make(a=50, b=50, c=50, d=50, e=50, f=50)
    shares = partition(examples, ["x", "y"], DirichletPartition(concentration=1e-3), seed=0)
    assert all(set(domains(share).values()) == {50} for share in shares.values())


def test_the_seed_decides_who_gets_what():
    examples, how = make(a=40, b=40), DirichletPartition()
    assert partition(examples, ["x", "y"], how, 0) != partition(examples, ["x", "y"], how, 1)
    assert partition(examples, ["x", "y"], IidPartition(), 0) != partition(
        examples, ["x", "y"], IidPartition(), 1
    )


def test_listed_domains_go_where_they_are_listed():
    how = DomainPartition(domains={"x": ("c",), "y": ("a", "b")})
    shares = partition(make(a=2, b=3, c=4), ["x", "y"], how, seed=0)
    assert domains(shares["x"]) == {"c": 4}
    assert domains(shares["y"]) == {"a": 2, "b": 3}


def test_sorted_domains_are_dealt_in_turn():
    shares = partition(make(c=1, a=1, b=1), ["x", "y"], DomainPartition(), seed=0)
    assert set(domains(shares["x"])) == {"a", "c"}
    assert set(domains(shares["y"])) == {"b"}


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"x": ("a", "b"), "w": ()}, "there is no device 'w'. Devices: x, y"),
        ({"x": ("a", "b", "q")}, "the data has no domain 'q'. Known: a, b"),
        ({"x": ("a",)}, "no device has the domain 'b'"),
        ({"x": ("a", "b"), "y": ("b",)}, "'b' is listed for 'x' and 'y'"),
    ],
)
def test_domains_that_do_not_fit_are_refused(listed, message):
    with pytest.raises(ConfigError, match=message):
        partition(make(a=1, b=1), ["x", "y"], DomainPartition(domains=listed), seed=0)


@pytest.mark.parametrize("how", [IidPartition(), DomainPartition(), DirichletPartition()])
def test_a_device_without_examples_is_refused_with_a_remedy(how):
    with pytest.raises(DataError, match="gets none of the 1 private examples") as error:
        partition(make(a=1), ["x", "y"], how, seed=0)
    assert "another `seed`, a larger `concentration`, or more data" in str(error.value)
