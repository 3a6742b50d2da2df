from collections import Counter

import pytest

from coplms.config.data import (
    DataConfig,
    DomainPartition,
    IidPartition,
    MemberDataConfig,
    PoolConfig,
    SourceConfig,
)
from coplms.config.model import DeviceConfig, ModelConfig
from coplms.config.run import RunConfig
from coplms.data.example import Example
from coplms.data.members import ConsortiumData, load_data, own_domains
from coplms.errors import DataError

MODEL = ModelConfig(model="mini/x")


def run_pool(pool: PoolConfig, names: str = "xy", seed: int = 0) -> ConsortiumData:
    devices = tuple(DeviceConfig(name=name, slm=MODEL) for name in names)
    return load_data(RunConfig(llm=MODEL, devices=devices, data=DataConfig(pool=pool), seed=seed))


def run_members(
    server: SourceConfig | MemberDataConfig,
    devices: dict[str, MemberDataConfig],
    transfer: SourceConfig | None = None,
) -> ConsortiumData:
    if isinstance(server, SourceConfig):
        server = MemberDataConfig(train=server)
    members = tuple(DeviceConfig(name=name, slm=MODEL, data=data) for name, data in devices.items())
    data = DataConfig(server=server, transfer=transfer)
    return load_data(RunConfig(llm=MODEL, devices=members, data=data))


def texts(*parts: tuple[Example, ...]) -> list[str]:
    return [example.input for part in parts for example in part]


@pytest.fixture
def source(write_lines):
    """Numbered examples of domains a and b, `first` to `last`."""

    def write_source(name: str, first: int, last: int) -> SourceConfig:
        records = [
            {"input": f"q{number}", "output": f"a{number}", "domain": "ab"[number % 2]}
            for number in range(first, last)
        ]
        return SourceConfig(path=write_lines(f"{name}.jsonl", *records))

    return write_source


@pytest.fixture
def pool(source) -> PoolConfig:
    return PoolConfig(
        train=source("train", 0, 100),
        dev=source("dev", 100, 120),
        test=source("test", 200, 240),
        partition=IidPartition(),
        public_labelled=10,
        public_unlabelled=20,
    )


def test_the_pool_is_divided_as_asked(pool):
    data = run_pool(pool)
    sizes = (
        len(data.server.train),
        len(data.transfer),
        len(data.server.dev),
        len(data.server.test),
    )
    assert sizes == (10, 20, 20, 40)
    assert {name: len(member.train) for name, member in data.devices.items()} == {"x": 35, "y": 35}


def test_parts_share_no_text_and_lose_none(pool):
    data = run_pool(pool)
    private = [member.train for member in data.devices.values()]
    found = texts(data.server.train, data.transfer, *private, data.server.dev, data.server.test)
    numbers = [*range(120), *range(200, 240)]
    assert Counter(found) == Counter(f"q{number}" for number in numbers)


def test_public_parts_mix_the_domains_like_the_pool(pool):
    data = run_pool(pool)
    assert Counter(example.domain for example in data.server.train) == {"a": 5, "b": 5}
    assert Counter(example.domain for example in data.transfer) == {"a": 10, "b": 10}


def test_nobody_sees_an_answer_of_the_transfer_set(pool):
    assert all(example.references == () for example in run_pool(pool).transfer)


def test_the_seed_decides_the_parts(pool):
    assert run_pool(pool) == run_pool(pool)
    assert run_pool(pool).server.train != run_pool(pool, seed=1).server.train


def test_the_private_examples_can_be_limited(pool):
    data = run_pool(pool.model_copy(update={"private": 40}))
    assert [len(member.train) for member in data.devices.values()] == [20, 20]


def test_a_device_is_tested_on_its_own_domains(pool):
    by_domain = DomainPartition(domains={"x": ("a",), "y": ("b",)})
    data = run_pool(pool.model_copy(update={"partition": by_domain}))
    assert {example.domain for example in data.devices["x"].test} == {"a"}
    assert {example.domain for example in data.devices["y"].dev} == {"b"}
    assert len(data.devices["x"].test) == 20
    assert len(data.server.test) == 40


def test_under_iid_every_domain_is_everybodys_own(pool):
    data = run_pool(pool)
    assert all(len(member.test) == 40 for member in data.devices.values())


@pytest.mark.parametrize(
    ("counts", "own"),
    [
        ({"a": 50, "b": 25, "c": 25}, {"a"}),
        ({"a": 34, "b": 33, "c": 33}, {"a", "b", "c"}),
        ({"a": 10, "b": 80, "c": 10}, {"b"}),
        ({"a": 1}, {"a"}),
    ],
)
def test_own_domains_hold_an_even_share_or_are_the_largest(counts, own):
    train = [
        Example("", "", (), domain, domain, "")
        for domain, count in counts.items()
        for _ in range(count)
    ]
    assert own_domains(train, num_domains=3) == own


def test_dev_and_test_can_be_limited_and_stay_mixed(pool):
    data = run_pool(pool.model_copy(update={"max_dev": 6, "max_test": 10}))
    assert Counter(example.domain for example in data.server.dev) == {"a": 3, "b": 3}
    assert Counter(example.domain for example in data.server.test) == {"a": 5, "b": 5}


def test_absent_dev_and_test_are_a_tenth_of_train_each(pool):
    data = run_pool(pool.model_copy(update={"dev": None, "test": None}))
    private = [member.train for member in data.devices.values()]
    assert (len(data.server.dev), len(data.server.test)) == (10, 10)
    found = texts(data.server.train, data.transfer, *private, data.server.dev, data.server.test)
    assert Counter(found) == Counter(f"q{number}" for number in range(100))


def test_train_loses_the_texts_of_dev_and_test_even_where_these_are_limited(pool, source):
    update = {"dev": source("dev2", 90, 100), "test": source("test2", 80, 90), "max_test": 2}
    data = run_pool(pool.model_copy(update=update))
    private = [member.train for member in data.devices.values()]
    found = texts(data.server.train, data.transfer, *private)
    assert Counter(found) == Counter(f"q{number}" for number in range(80))


def test_a_text_that_occurs_twice_stays_in_one_part(pool, write_lines):
    records = [
        {"input": f"q{number % 40}", "output": f"a{number}", "domain": "d"} for number in range(120)
    ]
    update = {"train": SourceConfig(path=write_lines("twice.jsonl", *records))}
    update |= {"dev": None, "test": None, "public_labelled": 9, "public_unlabelled": 5}
    data = run_pool(pool.model_copy(update=update))
    parts = [data.server.train, data.transfer, data.server.dev, data.server.test]
    parts.append(tuple(example for member in data.devices.values() for example in member.train))
    for number, part in enumerate(parts):
        others = texts(*parts[:number], *parts[number + 1 :])
        assert not set(texts(part)) & set(others)
    assert len(set(texts(data.transfer))) == 5


@pytest.mark.parametrize(
    ("update", "numbers"),
    [
        ({"public_labelled": 120}, "10?0 examples .* public_labelled 120"),
        ({"public_unlabelled": 95}, "public_unlabelled 95 .* 10, 90 and 0 were found"),
        ({"private": 71}, "71 private ones are asked; 10, 20 and 70 were found"),
        ({"public_unlabelled": 89}, "at least 2 private ones are asked; 10, 89 and 1 were found"),
    ],
)
def test_too_few_examples_are_refused_with_the_numbers(pool, update, numbers):
    with pytest.raises(DataError, match=numbers):
        run_pool(pool.model_copy(update=update))


def test_a_device_without_a_test_example_is_refused(pool, write_lines):
    test = SourceConfig(
        path=write_lines("only_a.jsonl", {"input": "q", "output": "a", "domain": "a"})
    )
    by_domain = DomainPartition(domains={"x": ("a",), "y": ("b",)})
    with pytest.raises(DataError, match="device 'y' has no test example: its domains are b"):
        run_pool(pool.model_copy(update={"test": test, "partition": by_domain}))


def test_members_keep_their_own_files(source):
    data = run_members(
        MemberDataConfig(
            train=source("s", 0, 10), dev=source("sd", 10, 12), test=source("st", 12, 16)
        ),
        {
            "x": MemberDataConfig(
                train=source("x", 20, 30), dev=source("xd", 30, 32), test=source("xt", 14, 20)
            )
        },
        transfer=source("t", 40, 50),
    )
    assert sorted(texts(data.server.train)) == [f"q{number}" for number in range(10)]
    assert sorted(texts(data.devices["x"].train)) == [f"q{number}" for number in range(20, 30)]
    assert texts(data.server.test) == [f"q{number}" for number in range(12, 20)]
    assert texts(data.devices["x"].test) == [f"q{number}" for number in range(14, 20)]
    assert len(data.transfer) == 10
    assert all(example.references == () for example in data.transfer)


def test_members_without_dev_and_test_set_a_tenth_aside(source):
    data = run_members(source("s", 0, 5), {"x": MemberDataConfig(train=source("x", 10, 60))})
    device = data.devices["x"]
    assert (len(device.train), len(device.dev), len(device.test)) == (40, 5, 5)
    assert (len(data.server.train), len(data.server.dev), len(data.server.test)) == (3, 1, 6)
    assert data.transfer == ()


def test_no_member_trains_on_what_another_is_tested_on(source):
    data = run_members(
        MemberDataConfig(
            train=source("s", 0, 30), dev=source("sd", 30, 31), test=source("st", 31, 32)
        ),
        {
            "x": MemberDataConfig(
                train=source("x", 20, 60), dev=source("xd", 0, 3), test=source("xt", 3, 6)
            )
        },
        transfer=source("t", 0, 70),
    )
    held_out = {f"q{number}" for number in (*range(6), 30, 31)}
    assert not held_out & set(texts(data.server.train, data.transfer, data.devices["x"].train))
    assert len(data.server.train) == 24
    assert not set(texts(data.transfer)) & set(texts(data.server.train))


def test_the_transfer_set_needs_no_answers(source, write_lines):
    transfer = SourceConfig(path=write_lines("t.jsonl", {"input": "new"}))
    data = run_members(
        source("s", 0, 5), {"x": MemberDataConfig(train=source("x", 10, 60))}, transfer
    )
    assert texts(data.transfer) == ["new"]


def test_a_member_with_too_few_examples_is_refused(source):
    with pytest.raises(DataError, match=r"devices\.x\.data\.train: nothing of its 2 examples"):
        run_members(source("s", 0, 5), {"x": MemberDataConfig(train=source("x", 10, 12))})


def test_a_member_that_trains_on_others_tests_only_is_refused(source):
    server = MemberDataConfig(
        train=source("s", 0, 5), dev=source("sd", 5, 6), test=source("st", 10, 20)
    )
    device = MemberDataConfig(
        train=source("x", 10, 20), dev=source("xd", 20, 21), test=source("xt", 21, 22)
    )
    with pytest.raises(DataError, match="'x': all 10 training examples stand in a dev or test set"):
        run_members(server, {"x": device})


def test_the_demo_fills_a_consortium():
    def split(name: str) -> SourceConfig:
        return SourceConfig(path="demo", format="demo", split=name)

    data = run_pool(PoolConfig(train=split("train"), dev=split("dev"), test=split("test")), "xyz")
    assert (len(data.server.train), len(data.transfer)) == (450, 1500)
    assert sum(len(member.train) for member in data.devices.values()) == 9000 - 1950


def test_the_tests_of_devices_are_asked_but_do_not_leave_them(source):
    data = run_members(source("s", 0, 20), {"x": MemberDataConfig(train=source("x", 100, 120))})
    private = set(texts(data.devices["x"].test))
    assert private
    assert private < set(texts(data.server.test))
    assert set(texts(data.server.test)) == private | set(texts(data.offered_test))
    assert not private & set(texts(data.offered_test))


def test_the_test_of_a_pool_may_be_offered(pool):
    data = run_pool(pool)
    assert data.offered_test == data.server.test
