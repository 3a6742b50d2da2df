"""An example -> its prompt, as text and as token ids. Answers are `training.encoding`'s."""

import re

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
    """Token ids of the prompt: one to `max_tokens` of them.

    Starts with BOS where the tokenizer has one. A longer prompt loses its middle, so that the
    instruction's beginning and the call for an answer stay. An empty prompt of a tokenizer
    without BOS is its EOS.

    Raises:
        ValueError: If `max_tokens` is below 1, or nothing can stand for an empty prompt.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    text = render_prompt(example, template, tokenizer)
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:1] != [bos]:
        ids = [bos, *ids]
    if not ids:
        if tokenizer.eos_token_id is None:
            raise ValueError("an empty prompt needs a tokenizer with BOS or EOS")
        ids = [tokenizer.eos_token_id]
    return _without_middle(ids, max_tokens)


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
