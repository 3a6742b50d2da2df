"""Our metrics equal the official script's on nine files of predictions."""

import json
from pathlib import Path

import pytest

from coplms.evaluation.score import read_predictions, score, score_prediction

SETS = [
    "gpt3_v1_definition_prompt",
    "gpt3_v1_definition_prompt_positive_examples",
    "gpt3_v1_positive_and_negative_examples",
    "heuristic_copy_demo",
    "heuristic_copy_input",
    "selfinstruct_davinci",
    "selfinstruct_davinci-self-instruct",
    "selfinstruct_davinci-superni-ft",
    "selfinstruct_text-davinci-003",
]
WITHOUT_TASKS = [name for name in SETS if name.startswith("selfinstruct")]
METRICS = ("rougeL", "exact_match")
POINTS = 0.001


@pytest.mark.parametrize("name", SETS)
def test_scores_equal_the_official_ones(data_root: Path, name: str) -> None:
    folder = data_root / "sni_reference"
    if not folder.is_dir():
        pytest.skip("the data folder holds no sni_reference")
    official = json.loads((folder / f"{name}.official_scores.json").read_text(encoding="utf-8"))
    predictions = read_predictions(folder / f"{name}.predicted_examples.jsonl")

    ours = score(predictions)
    assert len(predictions) == official["n_examples"]
    assert ours["overall"] == pytest.approx(
        {metric: official["overall"][metric] for metric in METRICS}, abs=POINTS
    )
    per_task = official.get("per_task", {})
    assert per_task.keys() == ours["per_task"].keys() or name in WITHOUT_TASKS
    for task, expected in per_task.items():
        wanted = {metric: expected[metric] for metric in METRICS}
        assert ours["per_task"][task] == pytest.approx(wanted, abs=POINTS), task

    rows = zip(predictions, official["per_example_em_rouge1_rougeL"], strict=True)
    for prediction, (exact, _, rouge) in rows:
        one = score_prediction(prediction)
        assert one.exact_match == 100 * exact
        assert one.rouge_l == pytest.approx(100 * rouge, abs=POINTS)
