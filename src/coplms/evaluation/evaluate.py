"""A model's scores on examples: prompts, greedy answers, official metrics."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from coplms.data.example import Example
from coplms.data.prompt import encode_prompts
from coplms.errors import ConfigError, DataError
from coplms.evaluation.generate import generate_answers
from coplms.evaluation.score import Prediction, Score, mean_score, score_prediction
from coplms.models.language_model import LanguageModel

_SHORTEST_PROMPT = 8


@dataclass(frozen=True)
class DomainScore:
    """Mean scores of the examples of one domain, or of one task, in percent."""

    num_examples: int
    rouge_l: float
    exact_match: float

    def to_json(self) -> dict[str, float]:
        """The scores under their official names, rounded to 4 decimals."""
        means = Score(self.rouge_l, self.exact_match)
        return {**means.to_json(), "num_examples": self.num_examples}


@dataclass(frozen=True)
class Evaluation:
    """How well a model answered.

    Attributes:
        num_examples: How many examples were answered, at least one.
        rouge_l: Mean Rouge-L over examples, in percent.
        exact_match: Mean exact match over examples, in percent.
        by_domain: Domain -> its means; sorted by name.
        by_task: Task -> its means; sorted by name.
        predictions: The answers, in the order of the examples.
        domains: The domain of each prediction.
        scores: The scores of each prediction.
    """

    num_examples: int
    rouge_l: float
    exact_match: float
    by_domain: dict[str, DomainScore]
    by_task: dict[str, DomainScore]
    predictions: tuple[Prediction, ...]
    domains: tuple[str, ...]
    scores: tuple[Score, ...]

    def restrict(self, domains: Collection[str]) -> "Evaluation":
        """The scores of the examples of these domains only, without generating again.

        Raises:
            DataError: If no example is of these domains.
        """
        rows = [row for row, domain in enumerate(self.domains) if domain in domains]
        if not rows:
            raise DataError(
                f"no evaluated example is of the domains {sorted(domains)}. "
                f"Known: {', '.join(self.by_domain)}."
            )
        return self.pick(rows)

    def pick(self, rows: Sequence[int]) -> "Evaluation":
        """The scores of the examples at these places, at least one, without generating again."""
        return _summarise(
            [self.predictions[row] for row in rows],
            [self.domains[row] for row in rows],
            [self.scores[row] for row in rows],
        )

    def to_json(self) -> dict[str, Any]:
        """The scores as `evaluation.jsonl` holds them; percentages with 4 decimals."""
        return {
            "num_examples": self.num_examples,
            **Score(self.rouge_l, self.exact_match).to_json(),
            "by_domain": {domain: means.to_json() for domain, means in self.by_domain.items()},
        }


def evaluate_model(
    model: LanguageModel,
    examples: Sequence[Example],
    template: str,
    max_length: int,
    max_new_tokens: int,
    batch_size: int,
) -> Evaluation:
    """The scores of the model's greedy answers.

    Args:
        model: Which model answers.
        examples: What it is asked; each with at least one reference.
        template: Prompt for tokenizers without a chat template.
        max_length: Tokens of prompt and answer together.
        max_new_tokens: Tokens that the answer may take of them.
        batch_size: Prompts that are answered at a time.

    Raises:
        ConfigError: If fewer than 8 tokens are left for the prompt.
        DataError: If there is no example, one has no reference, or prompts are too long for
            the model.
    """
    max_prompt = max_length - max_new_tokens
    if max_prompt < _SHORTEST_PROMPT:
        raise ConfigError(
            f"max_length {max_length} less max_new_tokens {max_new_tokens} leaves {max_prompt} "
            f"tokens for the prompt; it needs at least {_SHORTEST_PROMPT}. "
            "Raise max_length, or lower max_new_tokens."
        )
    _check_references(examples)
    rooms = [max_prompt] * len(examples)
    prompts = encode_prompts(model.tokenizer, examples, template, rooms)
    answers = generate_answers(model, prompts, max_new_tokens, batch_size)
    predictions = [
        Prediction(example.task, example.input, example.references, answer.text)
        for example, answer in zip(examples, answers, strict=True)
    ]
    scores = [score_prediction(prediction) for prediction in predictions]
    return _summarise(predictions, [example.domain for example in examples], scores)


def _check_references(examples: Sequence[Example]) -> None:
    if not examples:
        raise DataError("there is no example to evaluate on")
    for example in examples:
        if not example.references:
            raise DataError(
                f"{example.origin}: has no reference to score an answer against. "
                "Give it one, or leave it out of the evaluation."
            )


def _summarise(
    predictions: Sequence[Prediction], domains: Sequence[str], scores: Sequence[Score]
) -> Evaluation:
    overall = mean_score(scores)
    return Evaluation(
        num_examples=len(predictions),
        rouge_l=overall.rouge_l,
        exact_match=overall.exact_match,
        by_domain=_means(domains, scores),
        by_task=_means((prediction.task for prediction in predictions), scores),
        predictions=tuple(predictions),
        domains=tuple(domains),
        scores=tuple(scores),
    )


def _means(groups: Iterable[str], scores: Sequence[Score]) -> dict[str, DomainScore]:
    """Group -> means of the scores that stand at its places; sorted by name."""
    members: dict[str, list[Score]] = defaultdict(list)
    for group, score in zip(groups, scores, strict=True):
        members[group].append(score)
    means = {group: mean_score(members[group]) for group in sorted(members)}
    return {
        group: DomainScore(len(members[group]), mean.rouge_l, mean.exact_match)
        for group, mean in means.items()
    }
