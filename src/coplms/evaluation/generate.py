"""Greedy answers of a model to prompts, batched by length.

A loop of our own instead of transformers' `generate`: it ignores the sampling settings that
models ship with, sums log probabilities without keeping the logits of every step, and drops
rows from the batch as they finish.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from coplms.errors import DataError
from coplms.models.language_model import LanguageModel


@dataclass(frozen=True)
class Answer:
    """What a model said to one prompt.

    Attributes:
        text: Decoded without special tokens and without spaces at its ends.
        log_probability: Of the generated tokens in nats, EOS included where it came.
        num_tokens: How many tokens were generated, EOS included where it came.
        finished: Whether EOS came, rather than the limit on new tokens.
    """

    text: str
    log_probability: float
    num_tokens: int
    finished: bool


@dataclass
class _Draft:
    """An answer that still grows."""

    token_ids: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    finished: bool = False


def generate_answers(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_size: int,
) -> list[Answer]:
    """The greedy answer to each prompt, in the order of the prompts.

    The network works in evaluation mode; the mode of each of its modules is restored.

    Args:
        model: Any causal language model, with or without injected PEFT adapters.
        prompts: Token ids of the model's tokenizer, at least one in each prompt.
        max_new_tokens: Where an answer without EOS is cut off; at least 1.
        batch_size: Prompts that are answered at a time; at least 1.

    Raises:
        DataError: If prompt and answer may need more positions than the network has.
        ValueError: If a prompt is empty, or a number is below 1.
    """
    _check(model, prompts, max_new_tokens, batch_size)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    drafts: dict[int, _Draft] = {}
    with _evaluation_mode(model.network), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = _draft_batch(model, [prompts[index] for index in chosen], max_new_tokens)
            drafts.update(zip(chosen, batch, strict=True))
    return [_answer(model, drafts[index]) for index in range(len(prompts))]


def _draft_batch(
    model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[_Draft]:
    network, stops = model.network, _stop_ids(model)
    drafts = [_Draft() for _ in prompts]
    live = drafts  # row by row, the drafts that the tensors below still hold
    input_ids, mask = _pad_left(model, prompts)
    cache = None
    for _ in range(max_new_tokens):
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        output = network(
            input_ids=input_ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **_understood(network, {"position_ids": positions, "logits_to_keep": 1}),
        )
        logits, cache = output.logits[:, -1].float(), output.past_key_values
        next_ids = logits.argmax(dim=-1, keepdim=True)  # (live, 1)
        log_p = logits.gather(-1, next_ids) - logits.logsumexp(dim=-1, keepdim=True)
        _extend(live, next_ids[:, 0].tolist(), log_p[:, 0].tolist(), stops)
        rows = [row for row, draft in enumerate(live) if not draft.finished]
        if not rows:
            break
        if len(rows) < len(live):
            live = [live[row] for row in rows]
            kept = torch.tensor(rows, device=mask.device)
            next_ids, mask = next_ids[kept], mask[kept]
            cache.batch_select_indices(kept)
        input_ids = next_ids
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=-1)
    return drafts


def _extend(
    drafts: list[_Draft], token_ids: list[int], log_probabilities: list[float], stops: set[int]
) -> None:
    for draft, token_id, log_p in zip(drafts, token_ids, log_probabilities, strict=True):
        draft.token_ids.append(token_id)
        draft.log_probability += log_p
        draft.finished = token_id in stops


def _answer(model: LanguageModel, draft: _Draft) -> Answer:
    text = model.tokenizer.decode(
        draft.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return Answer(
        text=str(text).strip(),
        log_probability=draft.log_probability,
        num_tokens=len(draft.token_ids),
        finished=draft.finished,
    )


def _pad_left(
    model: LanguageModel, prompts: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Prompts that end in the same column, and a mask that is 1 at their tokens."""
    width = max(len(prompt) for prompt in prompts)
    padding = model.tokenizer.pad_token_id
    ids = [[padding] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)


def _stop_ids(model: LanguageModel) -> set[int]:
    """EOS of the tokenizer, and what the model ships as EOS where that is a special token.

    Chat models end a turn with a token of their own. A configuration's untouched default
    may name an ordinary token, which must not end an answer.
    """
    config = model.network.generation_config
    shipped = config.eos_token_id if config is not None else None
    candidates = shipped if isinstance(shipped, list) else [shipped]
    added = model.tokenizer.added_tokens_decoder
    special = {index for index in candidates if index in added and added[index].special}
    return special | {model.tokenizer.eos_token_id}


def _understood(network: PreTrainedModel, arguments: dict[str, object]) -> dict[str, object]:
    """The arguments that `forward` declares: BLOOM, for one, has no position ids."""
    declared = inspect.signature(network.forward).parameters
    return {name: value for name, value in arguments.items() if name in declared}


@contextmanager
def _evaluation_mode(network: PreTrainedModel) -> Iterator[None]:
    training = [module for module in network.modules() if module.training]
    network.train(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check(
    model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int
) -> None:
    if max_new_tokens < 1 or batch_size < 1:
        raise ValueError(
            f"max_new_tokens and batch_size must be at least 1, got {max_new_tokens} and "
            f"{batch_size}"
        )
    positions = getattr(model.network.config, "max_position_embeddings", None)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {index} is empty")
        if positions is not None and len(prompt) + max_new_tokens > positions:
            raise DataError(
                f"model {model.name!r} has {positions} positions, but prompt {index} of "
                f"{len(prompt)} tokens and {max_new_tokens} new ones need "
                f"{len(prompt) + max_new_tokens}. Lower max_length or max_new_tokens."
            )
