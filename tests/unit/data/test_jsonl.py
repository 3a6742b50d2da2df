import gzip
import json

import pytest

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.jsonl import read
from coplms.errors import DataError


def read_all(path: str, require_answer: bool = True) -> list[Example]:
    return list(read(SourceConfig(path=path), require_answer))


def test_every_key_arrives_in_its_field(write_lines):
    record = {
        "instruction": "Name it.",
        "input": "miau",
        "output": "cat",
        "domain": "animals",
        "task": "names",
        "more": 1,
    }
    path = write_lines("pets.jsonl", record)
    assert read_all(path) == [
        Example("Name it.", "miau", ("cat",), "animals", "names", f"{path}:1")
    ]


def test_domain_is_the_files_name_and_task_the_domain(write_lines):
    (example,) = read_all(write_lines("pets.jsonl", {"input": "miau", "output": "cat"}))
    assert (example.instruction, example.domain, example.task) == ("", "pets", "pets")


def test_null_counts_as_absent(write_lines):
    record = {
        "instruction": None,
        "input": "a",
        "output": None,
        "references": ["b"],
        "domain": None,
    }
    (example,) = read_all(write_lines("x.jsonl", record))
    assert (example.instruction, example.references, example.domain) == ("", ("b",), "x")


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        ({"references": ["a", "b"]}, ("a", "b")),
        ({"output": "b", "references": ["a", "b"]}, ("b", "a")),
        ({"output": "a", "references": []}, ("a",)),
        ({"references": ["a", "", "a"]}, ("a",)),
    ],
)
def test_output_comes_first_among_the_references(write_lines, answer, references):
    (example,) = read_all(write_lines("x.jsonl", {"input": "?"} | answer))
    assert example.references == references


def test_gzip_blank_lines_and_a_byte_order_mark_are_read(write):
    lines = '\ufeff{"input": "é", "output": "1"}\n\n  \n{"input": "b", "output": "2"}'.encode()
    examples = read_all(write("x.jsonl.gz", gzip.compress(lines)))
    assert [example.input for example in examples] == ["é", "b"]
    assert examples[1].origin.endswith("x.jsonl.gz:4")
    assert examples[0].domain == "x"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('["a"]', "a list that holds a string where a JSON object belongs"),
        ("3", "a number where a JSON object belongs"),
        ('{"output": "a"}', "neither `instruction` nor `input`; found the keys `output`"),
        ("{}", "neither `instruction` nor `input`; found no key"),
        ('{"input": "a"}', "no answer; found the keys `input`"),
        ('{"input": "a", "output": " "}', "`output` is an empty string"),
        ('{"input": "a", "output": 3}', "`output` is a number; it must be a string"),
        ('{"input": "a", "references": "b"}', "`references` is a string; it must be a list"),
        ('{"input": "a", "references": [3]}', "`references` is a list that holds a number"),
        ('{"input": "a", "references": [""]}', "no answer"),
        ('{"input": ["a"], "output": "b"}', "`input` is a list"),
        ('{"input": "a", "output": "b", "domain": 1}', "`domain` is a number"),
        ('{"input": "a", "output": "b", "task": {}}', "`task` is an object"),
    ],
)
def test_a_broken_line_is_refused_with_file_and_line(write, line, message):
    path = write("x.jsonl", json.dumps({"input": "a", "output": "b"}) + "\n" + line + "\n")
    with pytest.raises(DataError) as error:
        read_all(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}:2: ")


def test_text_that_is_not_utf8_is_refused(write):
    with pytest.raises(DataError, match=r"x\.jsonl:1: not UTF-8"):
        read_all(write("x.jsonl", b'{"input": "\xe9", "output": "a"}'))


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(b'{"input": "a"}' * 99)[:-9]],
    ids=["none", "cut"],  # the bytes hold the time, and two workers must agree on names
)
def test_a_broken_gzip_file_is_refused(write, content):
    with pytest.raises(DataError, match="broken gzip file"):
        read_all(write("x.jsonl.gz", content))


@pytest.mark.parametrize("answer", [{}, {"output": ""}, {"output": None}, {"references": []}])
def test_unlabelled_text_may_lack_an_answer(write_lines, answer):
    (example,) = read_all(write_lines("x.jsonl", {"input": "a"} | answer), require_answer=False)
    assert example.references == ()
