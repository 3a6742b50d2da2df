"""The built-in data set: short user requests and the name of their intent.

Six domains with five intents each, made by a seeded grammar: nothing is copied or fetched. Every
fourth pattern of an intent occurs in `dev` and `test` only, and a third of their requests come from
these; the rest are new fillings of known patterns.
"""

import random
from collections.abc import Iterator, Sequence
from functools import cache

from coplms.config.data import SourceConfig
from coplms.data.demo_corpus import demo_text
from coplms.data.demo_requests import REQUESTS
from coplms.data.demo_words import COMMAND_OPENINGS, ENDINGS, OTHER_OPENINGS, fill
from coplms.data.example import Example
from coplms.errors import DataError

__all__ = ["INSTRUCTION", "demo_text", "patterns", "read"]

INSTRUCTION = "Name the intent of the request."
NUM_PER_INTENT = {"test": 25, "dev": 20, "train": 300}
"""Split -> requests of each intent; drawn in this order, each text once."""


def read(source: SourceConfig) -> Iterator[Example]:
    """Requests of `source.split`: `train`, `dev` or `test`. `source.path` is ignored.

    Raises:
        DataError: If there is no such split.
    """
    splits = _splits()
    if source.split not in splits:
        raise DataError(
            f"the demo data has no split '{source.split}'. Set `split` to train, dev or test."
        )
    yield from splits[source.split]


@cache
def patterns(domain: str, intent: str) -> tuple[str, ...]:
    """Sentence patterns of an intent; every fourth is kept from `train`."""
    return tuple(" ".join(REQUESTS[domain][intent].split()).split(" / "))


@cache
def _splits() -> dict[str, tuple[Example, ...]]:
    splits: dict[str, list[Example]] = {split: [] for split in NUM_PER_INTENT}
    seen: set[str] = set()
    for domain, intents in REQUESTS.items():
        for intent in intents:
            generator = random.Random(f"demo/{domain}/{intent}")
            for split, num in NUM_PER_INTENT.items():
                for text in _requests(domain, intent, split, num, generator, seen):
                    origin = f"demo:{split}[{len(splits[split])}]"
                    splits[split].append(
                        Example(INSTRUCTION, text, (intent,), domain, domain, origin)
                    )
    return {split: tuple(examples) for split, examples in splits.items()}


def _requests(
    domain: str, intent: str, split: str, num: int, generator: random.Random, seen: set[str]
) -> Iterator[str]:
    """Texts that were not seen before."""
    known = [text for index, text in enumerate(patterns(domain, intent)) if index % 4 != 3]
    kept_back = patterns(domain, intent)[3::4]
    for index in range(num):
        choices = kept_back if split != "train" and index % 3 == 2 else known
        text = _request(choices, generator)
        while text in seen:
            text = _request(choices, generator)
        seen.add(text)
        yield text


def _request(choices: Sequence[str], generator: random.Random) -> str:
    pattern = generator.choice(choices)
    openings = COMMAND_OPENINGS if pattern.startswith("!") else OTHER_OPENINGS
    parts = (generator.choice(openings), fill(pattern, generator), generator.choice(ENDINGS))
    return " ".join(part for part in parts if part)
