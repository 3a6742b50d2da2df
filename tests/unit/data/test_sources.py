import pytest

from coplms.config.data import SourceConfig
from coplms.data.sources import READERS, read_source
from coplms.errors import DataError


@pytest.fixture
def path(write_lines) -> str:
    records = [{"input": str(n), "output": "x", "domain": "ab"[n % 2]} for n in range(20)]
    return write_lines("x.jsonl", *records)


def test_every_format_of_the_configuration_has_a_reader():
    formats = SourceConfig.model_fields["format"].annotation
    assert set(READERS) == set(formats.__args__)


def test_domains_keep_only_what_is_listed(path):
    examples = read_source(SourceConfig(path=path, domains=("b",)))
    assert [int(example.input) for example in examples] == list(range(1, 20, 2))


def test_an_unknown_domain_is_refused(path):
    with pytest.raises(DataError, match=r"no domain 'c'. Known: a, b"):
        read_source(SourceConfig(path=path, domains=("a", "c")))


def test_the_limit_holds_in_each_domain_and_the_seed_decides(path):
    source = SourceConfig(path=path, limit_per_domain=3)
    examples = read_source(source, seed=1)
    assert sorted(example.domain for example in examples) == ["a"] * 3 + ["b"] * 3
    assert examples == read_source(source, seed=1)
    assert examples != read_source(source, seed=2)
    assert len(read_source(SourceConfig(path=path, limit_per_domain=99))) == 20


def test_long_answers_are_left_out_by_their_bytes(write_lines):
    records = [{"input": str(n), "output": text} for n, text in enumerate(["ab", "abc", "é", "éé"])]
    path = write_lines("x.jsonl", *records)
    examples = read_source(SourceConfig(path=path, max_answer_bytes=2))
    assert [example.answer for example in examples] == ["ab", "é"]
    with pytest.raises(DataError, match="max_answer_bytes is 1, and the shortest answer has 2"):
        read_source(SourceConfig(path=path, max_answer_bytes=1))


def test_an_example_without_an_answer_is_not_too_long(write_lines):
    source = SourceConfig(path=write_lines("x.jsonl", {"input": "a"}), max_answer_bytes=1)
    assert len(read_source(source, require_answer=False)) == 1


def test_an_empty_source_is_refused(write):
    with pytest.raises(DataError, match="holds no example"):
        read_source(SourceConfig(path=write("x.jsonl", "\n")))


def test_half_a_surrogate_pair_is_refused(write):
    path = write("x.jsonl", '{"input": "\\ud83d", "output": "a"}')
    with pytest.raises(DataError, match=r"x\.jsonl:1: half of a surrogate pair"):
        read_source(SourceConfig(path=path))


def test_answers_may_be_absent_only_where_they_are_not_needed(write_lines):
    source = SourceConfig(path=write_lines("x.jsonl", {"input": "a"}))
    assert read_source(source, require_answer=False)[0].references == ()
    with pytest.raises(DataError, match="no answer"):
        read_source(source)
