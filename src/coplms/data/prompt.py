"""An example -> its prompt, as text and as token ids. Answers are `training.encoding`'s."""

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from coplms.data.example import Example

_FIELD = re.compile(r"\{(instruction|input)\}")
_QUESTION = "{instruction}\n{input}"


def render_prompt(example: Example, template: str, tokenizer: PreTrainedTokenizerFast) -> str:
    r"""What the model reads before it answers.

    Args:
        example: Its instruction and input are used; braces in them are ordinary text.
        template: Plain prompt with `{instruction}` and `{input}`, for tokenizers that have no
            chat template. A line that empty fields leave blank is dropped.
        tokenizer: Its chat template, where there is one, takes instruction and input as the
            user's message and opens the assistant's.
    """
    if tokenizer.chat_template is None:
        return _fill(template, example)
    message = {"role": "user", "content": _fill(_QUESTION, example)}
    text = tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return str(text)


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, example: Example, template: str, max_tokens: int
) -> list[int]:
    """Token ids of one prompt, as `encode_prompts`.

    Raises:
        ValueError: If `max_tokens` is below 1, or nothing can stand for an empty prompt.
    """
    (ids,) = encode_prompts(tokenizer, [example], template, [max_tokens])
    return ids


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    template: str,
    max_tokens: Sequence[int],
) -> list[list[int]]:
    """Token ids of each example's prompt: one to so many of them as `max_tokens` says for it.

    Starts with BOS where the tokenizer has one. A longer prompt loses its middle, so that the
    instruction's beginning and the call for an answer stay. An empty prompt of a tokenizer
    without BOS is its EOS. All prompts are encoded in one call, so that the tokenizer's own
    threads share the work.

    Raises:
        ValueError: If one of `max_tokens` is below 1, or nothing can stand for an empty prompt.
    """
    if min(max_tokens, default=1) < 1:
        raise ValueError(f"max_tokens must be at least 1, got {min(max_tokens)}")
    texts = [render_prompt(example, template, tokenizer) for example in examples]
    if not texts:
        return []
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)[
        "input_ids"
    ]
    return [
        _without_middle(_opened(tokenizer, ids), most)
        for ids, most in zip(encoded, max_tokens, strict=True)
    ]


def _opened(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> list[int]:
    """The prompt with BOS before it, or EOS where it would be empty."""
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:1] != [bos]:
        return [bos, *ids]
    if not ids and tokenizer.eos_token_id is None:
        raise ValueError("an empty prompt needs a tokenizer with BOS or EOS")
    return ids or [tokenizer.eos_token_id]


def _fill(template: str, example: Example) -> str:
    fields = {"instruction": example.instruction, "input": example.input}
    lines: list[str] = []
    for line in template.split("\n"):
        filled = _FIELD.sub(lambda match: fields[match[1]], line)
        if filled.strip() or not _FIELD.search(line):
            lines.append(filled)
    return "\n".join(lines)


def _without_middle(ids: list[int], most: int) -> list[int]:
    if len(ids) <= most:
        return ids
    head = most // 2
    return ids[:head] + ids[len(ids) - (most - head) :]
