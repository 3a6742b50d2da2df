"""Examples as tokens, with the byte places where answers can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coplms.alignment.places import encode_answers
from coplms.alignment.token_bytes import token_bytes
from coplms.data.example import Example
from coplms.data.prompt import encode_prompts
from coplms.errors import DataError
from coplms.models.language_model import LanguageModel

MIN_PROMPT_TOKENS = 4
"""A prompt is cut down to no less than this."""

BLOCK = 512
"""Examples that are encoded and aligned together: many, but no more than a processor's cache and
the tokenizer's own notes on a text, which are many times its size, have room for."""


@dataclass(frozen=True, eq=False)
class EncodedExample:
    """One example for one tokenizer.

    Attributes:
        prompt: Token ids of the prompt, at least one.
        answer: Token ids of the answer, the EOS token last.
        ends: Byte offset in the answer at which each of its tokens ends; -1 where it makes no
            boundary (`coplms.alignment.places`).
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens for each model that reads it: one."""
        return (len(self),)


class Encoder:
    """Encodes examples for one model, each of them once.

    All that are new are encoded together, so that the fast tokenizer's threads share the work.
    """

    def __init__(self, model: LanguageModel, template: str, max_length: int) -> None:
        self.model = model
        self.template = template
        self.max_length = max_length
        self.bytes = token_bytes(model.tokenizer)
        self._cache: dict[Example, EncodedExample] = {}

    def __call__(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """The examples in the model's tokens.

        Raises:
            DataError: If an answer does not fit the context; prompts are cut, answers never.
        """
        new = [example for example in dict.fromkeys(examples) if example not in self._cache]
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            self._cache.update(zip(block, self._encode(block), strict=True))
        return [self._cache[example] for example in examples]

    def prompt(self, example: Example, answer_tokens: int) -> list[int]:
        """The prompt alone, leaving room for an answer of `answer_tokens`."""
        (prompt,) = self.prompts([example], answer_tokens)
        return prompt

    def prompts(self, examples: Sequence[Example], answer_tokens: int) -> list[list[int]]:
        """The prompts alone, each leaving room for an answer of `answer_tokens`."""
        room = max(MIN_PROMPT_TOKENS, self.max_length - answer_tokens)
        rooms = [room] * len(examples)
        return encode_prompts(self.model.tokenizer, examples, self.template, rooms)

    def fitting(self, examples: Sequence[Example]) -> list[Example]:
        """The examples whose answers leave room for a prompt."""
        texts = [example.answer for example in examples]
        answers = encode_answers(self.bytes, self.model.tokenizer, texts)
        most = self.max_length - MIN_PROMPT_TOKENS
        return [
            example for example, (ids, _) in zip(examples, answers, strict=True) if len(ids) <= most
        ]

    def _encode(self, examples: Sequence[Example]) -> list[EncodedExample]:
        tokenizer = self.model.tokenizer
        texts = list(dict.fromkeys(example.answer for example in examples))
        found = zip(texts, encode_answers(self.bytes, tokenizer, texts), strict=True)
        answers = {text: (tuple(ids), ends) for text, (ids, ends) in found}
        rooms = [self._room(example, len(answers[example.answer][0])) for example in examples]
        prompts = encode_prompts(tokenizer, examples, self.template, rooms)
        return [
            EncodedExample(tuple(prompt), *answers[example.answer])
            for prompt, example in zip(prompts, examples, strict=True)
        ]

    def _room(self, example: Example, answer_tokens: int) -> int:
        """Tokens that the answer leaves for the prompt."""
        room = self.max_length - answer_tokens
        if room < MIN_PROMPT_TOKENS:
            raise DataError(
                f"{example.origin}: the answer has {answer_tokens} tokens for "
                f"'{self.model.name}', and data.max_length is {self.max_length}. Answers are never "
                f"cut: raise data.max_length to {answer_tokens + MIN_PROMPT_TOKENS} or more, or "
                "leave this example out"
            )
        return room
