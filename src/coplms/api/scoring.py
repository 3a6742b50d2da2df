"""A model's scores in a run: which examples, and what of the scores is kept."""

from collections.abc import Sequence

from coplms.config.training import TrainingConfig
from coplms.consortium.journal import Result
from coplms.data.example import Example
from coplms.data.members import unique
from coplms.evaluation.evaluate import evaluate_model
from coplms.models.language_model import LanguageModel


def score_rows(
    model: LanguageModel,
    public: Sequence[Example],
    own: Sequence[Example],
    config: TrainingConfig,
    about: dict[str, str],
) -> Result:
    """The result of a phase that scores a model: rows of `evaluation.jsonl`.

    Args:
        model: Who answers.
        public: The server's test set: scope `all`.
        own: A device's test set: scope `own`; empty for the server.
        config: How models are asked.
        about: `when`, `member` and `model` of the rows.
    """
    asked = unique([*public, *own])
    if not asked:
        return {"evaluations": []}
    found = evaluate_model(
        model,
        asked,
        config.data.template,
        config.data.max_length,
        config.evaluation.max_new_tokens,
        config.evaluation.batch_size,
    )
    places = {example.text: place for place, example in enumerate(asked)}
    rows = []
    for scope, examples in (("all", public), ("own", own)):
        if examples:
            part = found.pick(sorted({places[example.text] for example in examples}))
            rows.append({**about, "scope": scope, **part.to_json()})
    return {"evaluations": rows}
