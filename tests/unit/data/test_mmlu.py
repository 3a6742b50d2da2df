import pytest

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.mmlu import read
from coplms.errors import DataError


def read_all(path: str) -> list[Example]:
    return list(read(SourceConfig(path=path, format="mmlu")))


def test_a_row_becomes_a_question_with_lettered_choices(write):
    path = write("high_school_art_test.csv", "Which is blue?,sky,grass,snow,coal,A\n")
    assert read_all(path) == [
        Example(
            instruction="The following is a multiple choice question about high school art. "
            "Answer with A, B, C or D.",
            input="Which is blue?\nA. sky\nB. grass\nC. snow\nD. coal",
            references=("A",),
            domain="high_school_art",
            task="high_school_art",
            origin=f"{path}:1",
        )
    ]


def test_a_row_over_several_lines_counts_from_its_first(write):
    path = write("art_dev.csv", 'q,1,2,3,4,A\n"q\nr, s",1,2,3,4,B\n\nq,1,2,3,4,C\n')
    examples = read_all(path)
    assert [example.origin.rsplit(":")[-1] for example in examples] == ["1", "2", "5"]
    assert examples[1].input.startswith("q\nr, s\nA. 1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q,1,2,3,A", "5 columns where 6 belong"),
        ("a, b,1,2,3,4,A", "7 columns where 6 belong"),
        ("q,1,2,3,4,E", "the answer is 'E'; it must be A, B, C or D"),
        ("q,1,2,3,4,0", "the answer is '0'"),
        ("question,A,B,C,D,answer", "MMLU files have no header"),
    ],
)
def test_a_row_that_is_no_question_is_refused_with_file_and_line(write, row, message):
    path = write("art_test.csv", f"q,1,2,3,4,A\n{row}\n")
    with pytest.raises(DataError, match=message) as error:
        read_all(path)
    assert str(error.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff", "not UTF-8"), (b'"' + b"x" * 200_000, "1: not valid CSV")]
)
def test_another_file_is_refused(write, content, message):
    with pytest.raises(DataError, match=message):
        read_all(write("art_test.csv", content))
