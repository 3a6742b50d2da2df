"""Predictions, read from a file in the official format, and their scores.

One JSON object per line, as `src/compute_metrics.py` of yizhongw/Tk-Instruct reads them:
`{"Task": .., "Instance": {"input": .., "output": [..]}, "prediction": ..}`; further keys are
ignored. Needs no torch.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

from coplms.errors import DataError
from coplms.evaluation.exact_match import exact_match
from coplms.evaluation.rouge import rouge_l

_FORM = '{"Task": "..", "Instance": {"input": "..", "output": [".."]}, "prediction": ".."}'


@dataclass(frozen=True)
class Prediction:
    """A model's answer beside the answers that count as right.

    Attributes:
        task: What scores are averaged by.
        input: What the task was applied to.
        references: Acceptable answers, at least one.
        text: What the model answered; may be empty.
    """

    task: str
    input: str
    references: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Score:
    """Both metrics of one prediction, or their means over several, in percent."""

    rouge_l: float
    exact_match: float

    def to_json(self) -> dict[str, float]:
        """The metrics under their official names, rounded to 4 decimals as the script does."""
        return {"rougeL": round(self.rouge_l, 4), "exact_match": round(self.exact_match, 4)}


def read_predictions(path: Path | str) -> list[Prediction]:
    """The predictions of a JSONL file, in its order; blank lines are skipped.

    Raises:
        DataError: If the file is missing or empty, or a line is broken.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    predictions = [
        _parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not predictions:
        raise DataError(f"{path}: holds no prediction. Each line should be {_FORM}")
    return predictions


def score_prediction(prediction: Prediction) -> Score:
    """Both metrics of one prediction."""
    return Score(
        rouge_l=rouge_l(prediction.text, prediction.references),
        exact_match=exact_match(prediction.text, prediction.references),
    )


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over predictions; each counts the same, whatever its task.

    Raises:
        ValueError: If there is no score.
    """
    if not scores:
        raise ValueError("no score to take the mean of")
    return Score(
        rouge_l=fsum(each.rouge_l for each in scores) / len(scores),
        exact_match=fsum(each.exact_match for each in scores) / len(scores),
    )


def score(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """`{"overall": {"rougeL", "exact_match"}, "per_task": {task: the same}}` in percent.

    Overall is the mean over predictions, not over tasks. Tasks are sorted by name.

    Raises:
        DataError: If there is no prediction.
    """
    if not predictions:
        raise DataError("there is no prediction to score")
    scores = [score_prediction(prediction) for prediction in predictions]
    by_task: dict[str, list[Score]] = defaultdict(list)
    for prediction, one in zip(predictions, scores, strict=True):
        by_task[prediction.task].append(one)
    return {
        "overall": mean_score(scores).to_json(),
        "per_task": {task: mean_score(by_task[task]).to_json() for task in sorted(by_task)},
    }


def _parse(line: bytes, place: str) -> Prediction:
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise DataError(f"{place}: is not JSON in UTF-8 ({error}). It should be {_FORM}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: is a {type(row).__name__}, not an object. It should be {_FORM}")
    instance = row.get("Instance")
    if not isinstance(instance, dict):
        raise DataError(f"{place}: has no object 'Instance'. It should be {_FORM}")
    return Prediction(
        task=_text(row, "Task", place),
        input=_text(instance, "input", place),
        references=_references(instance.get("output"), place),
        text=_text(row, "prediction", place),
    )


def _text(row: dict[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        found = f"has {key!r} of type {type(value).__name__}" if key in row else f"has no {key!r}"
        raise DataError(f"{place}: {found}; it should be text, as in {_FORM}")
    return value


def _references(output: object, place: str) -> tuple[str, ...]:
    """Some SNI files hold plain text or integers where the format asks for a list of texts."""
    values = output if isinstance(output, list) else [output]
    if not values or not all(type(value) in (str, int) for value in values):
        raise DataError(
            f"{place}: Instance.output is {json.dumps(output)[:80]}; it should be a list of at "
            f"least one acceptable answer, as in {_FORM}"
        )
    return tuple(str(value) for value in values)
