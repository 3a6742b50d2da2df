"""Examples as tokens, with the byte places where answers can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coplms.alignment.places import encode_answer
from coplms.alignment.token_bytes import token_bytes
from coplms.data.example import Example
from coplms.data.prompt import encode_prompt
from coplms.errors import DataError
from coplms.models.language_model import LanguageModel

MIN_PROMPT_TOKENS = 4
"""A prompt is cut down to no less than this."""


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


class Encoder:
    """Encodes examples for one model, each of them once."""

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
        return [self._encode(example) for example in examples]

    def prompt(self, example: Example, answer_tokens: int) -> list[int]:
        """The prompt alone, leaving room for an answer of `answer_tokens`."""
        room = max(MIN_PROMPT_TOKENS, self.max_length - answer_tokens)
        return encode_prompt(self.model.tokenizer, example, self.template, room)

    def fits(self, example: Example) -> bool:
        """Whether the answer leaves room for a prompt."""
        answer, _ = encode_answer(self.bytes, self.model.tokenizer, example.answer)
        return self.max_length - len(answer) >= MIN_PROMPT_TOKENS

    def _encode(self, example: Example) -> EncodedExample:
        known = self._cache.get(example)
        if known is not None:
            return known
        answer, ends = encode_answer(self.bytes, self.model.tokenizer, example.answer)
        room = self.max_length - len(answer)
        if room < MIN_PROMPT_TOKENS:
            raise DataError(
                f"{example.origin}: the answer has {len(answer)} tokens for '{self.model.name}', "
                f"and data.max_length is {self.max_length}. Answers are never cut: raise "
                f"data.max_length to {len(answer) + MIN_PROMPT_TOKENS} or more, or leave this "
                "example out"
            )
        prompt = encode_prompt(self.model.tokenizer, example, self.template, room)
        encoded = EncodedExample(tuple(prompt), tuple(answer), ends)
        self._cache[example] = encoded
        return encoded
