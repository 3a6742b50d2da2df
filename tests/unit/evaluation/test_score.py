"""Files of predictions and their scores."""

import json
from pathlib import Path

import pytest

from coplms.errors import DataError
from coplms.evaluation.score import Prediction, Score, mean_score, read_predictions, score

GOOD = {"Task": "t", "Instance": {"input": "i", "output": ["yes", "no"]}, "prediction": "No"}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_overall_is_the_mean_over_predictions_not_over_tasks() -> None:
    predictions = [
        Prediction("b", "", ("red green blue",), "red"),
        Prediction("b", "", ("red",), "red"),
        Prediction("a", "", ("blue",), "red"),
    ]

    assert score(predictions) == {
        "overall": {"rougeL": 50.0, "exact_match": 33.3333},
        "per_task": {
            "a": {"rougeL": 0.0, "exact_match": 0.0},
            "b": {"rougeL": 75.0, "exact_match": 50.0},
        },
    }


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(DataError, match="no prediction"):
        score([])
    with pytest.raises(ValueError, match="no score"):
        mean_score([])


def test_scores_are_rounded_to_four_decimals() -> None:
    assert Score(200 / 3, 100 / 3).to_json() == {"rougeL": 66.6667, "exact_match": 33.3333}


def test_predictions_are_read_in_order_and_further_keys_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, {**GOOD, "id": 7, "Categories": ["x"]}, {**GOOD, "prediction": ""})

    assert read_predictions(path) == [
        Prediction("t", "i", ("yes", "no"), "No"),
        Prediction("t", "i", ("yes", "no"), ""),
    ]


def test_blank_lines_and_windows_line_ends_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"\r\n" + json.dumps(GOOD).encode() + b"\r\n\n")

    assert len(read_predictions(path)) == 1


def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    row = {**GOOD, "prediction": "a\u2028b"}
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")

    assert read_predictions(path)[0].text == "a\u2028b"


@pytest.mark.parametrize(("output", "references"), [("yes", ("yes",)), ([3, "4"], ("3", "4"))])
def test_references_of_older_tasks_are_read(
    tmp_path: Path, output: object, references: tuple[str, ...]
) -> None:
    path = write(tmp_path, {**GOOD, "Instance": {"input": "i", "output": output}})

    assert read_predictions(path)[0].references == references


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1], "is a list, not an object"),
        ({**GOOD, "Instance": "i"}, "no object 'Instance'"),
        ({"Task": "t", "Instance": GOOD["Instance"]}, "has no 'prediction'"),
        ({**GOOD, "prediction": None}, "'prediction' of type NoneType"),
        ({**GOOD, "Task": 3}, "'Task' of type int"),
        ({**GOOD, "Instance": {"output": ["a"]}}, "has no 'input'"),
        ({**GOOD, "Instance": {"input": "i"}}, "Instance.output is null"),
        ({**GOOD, "Instance": {"input": "i", "output": []}}, r"Instance.output is \[\]"),
        ({**GOOD, "Instance": {"input": "i", "output": [True]}}, r"Instance.output is \[true\]"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path, GOOD, row)

    with pytest.raises(DataError, match=rf"predictions.jsonl:2: .*{message}"):
        read_predictions(path)


@pytest.mark.parametrize("line", [b"{", b'{"Task": "\xff"}'])
def test_a_line_that_is_no_json_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"\n" + line + b"\n")

    with pytest.raises(DataError, match=r"predictions.jsonl:2: is not JSON in UTF-8"):
        read_predictions(path)


def test_an_empty_or_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no prediction"):
        read_predictions(write(tmp_path))
    with pytest.raises(DataError, match=r"absent.jsonl: cannot be read"):
        read_predictions(tmp_path / "absent.jsonl")
