import gzip

import pytest

from coplms.data.text import read_text
from coplms.errors import DataError


def test_every_kind_of_file_is_read_in_order(write, write_lines):
    task = {"Definition": ["Add."], "Instances": [{"input": "1 2", "output": [3, 4]}]}
    paths = [
        write_lines("a.jsonl", {"text": "one", "source": "x"}, {"text": " "}),
        write("b.jsonl.gz", gzip.compress(b'{"text": "two"}\n')),
        write_lines("c.jsonl", {"instruction": "Do.", "input": "it", "output": "done"}),
        write_lines("d.jsonl", {"input": "it", "references": ["done", "made"]}),
        write("task001_sum.json", task),
        write("e.txt", "long\ntext\n"),
    ]
    assert list(read_text(paths)) == [
        "one",
        "two",
        "Do.\nit\nAnswer: done",
        "it\nAnswer: done",
        "Add.\n1 2\nAnswer: 3",
        "long\ntext\n",
    ]


def test_a_folder_is_read_whole(write, write_lines, tmp_path):
    write("b.txt", "b")
    write_lines("a.jsonl", {"text": "a"})
    assert list(read_text([str(tmp_path)])) == ["a", "b"]


def test_no_paths_give_no_text():
    assert list(read_text([])) == []


def test_demo_stands_for_the_generated_text():
    assert sum(map(len, read_text(["demo"]))) > 1_000_000


def test_text_that_is_no_string_is_refused(write_lines):
    with pytest.raises(DataError, match=r"a\.jsonl:1: `text` must be a string"):
        list(read_text([write_lines("a.jsonl", {"text": 1})]))


def test_another_kind_of_file_is_refused(write):
    with pytest.raises(DataError, match=r"a\.pdf: text is read from"):
        list(read_text([write("a.pdf", "x")]))


def test_a_text_file_that_is_not_utf8_is_refused(write):
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_text([write("a.txt", b"\xff")]))
