"""A network's output head as tensors, and the hidden rows that it turns into logits.

The fused losses make logits themselves, a few at a time, so they must know what a network does to
its hidden states: a linear map, with or without bias and LoRA, then a factor and a cap. What is
read from a network is tried on it once; a head of another form is left to the network itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from coplms.losses.head import Head, Rows
from coplms.models.language_model import LanguageModel
from coplms.training.batches import Batch

_PROBE = 8
"""Tokens that a head is tried on."""

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""By which the tried logits may differ, as part of the largest; others get 3 %."""


@dataclass(frozen=True)
class HeadForm:
    """What follows the linear map of a head.

    Attributes:
        factor: The logits are multiplied by it (Cohere's `logit_scale`, Granite's
            `logits_scaling` as divisor, Falcon-H1's `lm_head_multiplier`).
        softcap: Then capped (`final_logit_softcapping` of Gemma).
    """

    factor: float = 1.0
    softcap: float | None = None


def read_head(model: LanguageModel) -> HeadForm | None:
    """The form of the model's head; None where it is not one that the fused losses know.

    Known are linear heads, with bias or without, tied to the embeddings or not, with LoRA on them
    or without, followed by a factor and a cap. The network's own logits of a few tokens must be
    those that this form gives.
    """
    form = _form(model.network.config)
    was_training = model.network.training
    model.network.train(False)
    try:
        with torch.no_grad():
            ids = torch.arange(_PROBE, device=model.device).unsqueeze(0)
            kept: list[Tensor] = []

            def keep(hidden: Tensor) -> Tensor:
                kept.append(hidden)
                return hidden

            logits = _run(model, ids, None, keep)
            terms = _terms(_output_head(model), kept[0].flatten(0, 1), form)
    finally:
        model.network.train(was_training)
    if terms is None:
        return None
    found = Rows(*terms, ids[0]).logits().double()
    wanted = logits.flatten(0, 1).double()
    allowed = _TOLERANCE.get(logits.dtype, 0.03) * wanted.abs().max()
    same = found.shape == wanted.shape and bool((found - wanted).abs().max() <= allowed)
    return form if same else None


def _form(config: object) -> HeadForm:
    factor = float(getattr(config, "logit_scale", None) or 1.0)
    factor *= float(getattr(config, "lm_head_multiplier", None) or 1.0)
    factor /= float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return HeadForm(factor, None if cap is None else float(cap))


def _output_head(model: LanguageModel) -> nn.Module:
    head: nn.Module = model.network.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head


def _terms(
    module: nn.Module, hidden: Tensor, form: HeadForm
) -> tuple[tuple[Tensor, ...], Head] | None:
    """The products whose sum the module is; None where it is not of a known form."""
    linear = module.get_base_layer() if isinstance(module, LoraLayer) else module
    if type(linear) is not nn.Linear:  # quantised layers inherit from it
        return None
    products = [(hidden, linear.weight)]
    if isinstance(module, LoraLayer):
        adapters = [] if module.disable_adapters or module.merged else module.active_adapters
        for name in adapters:
            if name in module.lora_variant or module.lora_bias.get(name):
                return None
            if name in module.lora_A:
                products.append(_low_rank(module, name, hidden))
    dtype, factor = _compute_dtype(hidden), form.factor
    inputs = tuple((x if factor == 1 else x * factor).to(dtype) for x, _ in products)
    bias = None if linear.bias is None else (linear.bias * factor).to(dtype)
    return inputs, Head(tuple(weight.to(dtype) for _, weight in products), bias, form.softcap)


def _low_rank(layer: LoraLayer, name: str, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """One adapter of the head: the scaled A x, and B."""
    down = cast("nn.Linear", layer.lora_A[name])
    dropped: Tensor = layer.lora_dropout[name](hidden.to(down.weight.dtype))
    scaled: Tensor = down(dropped) * layer.scaling[name]
    return scaled, cast("nn.Linear", layer.lora_B[name]).weight


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def hidden_rows(model: LanguageModel, batch: Batch, form: HeadForm) -> Rows:
    """The batch's answer rows before the head: one forward pass that makes no logits.

    Args:
        model: The network.
        batch: What it reads.
        form: What `read_head` found.
    """
    kept: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        kept.append(hidden.flatten(0, 1)[batch.rows])
        return hidden[:0]

    _run(model, batch.input_ids, batch.attention_mask, take)
    terms = _terms(_output_head(model), kept[0], form)
    assert terms is not None  # `read_head` saw this module
    return Rows(*terms, batch.targets)


def row_logits(model: LanguageModel, batch: Batch) -> Tensor:
    """Logits of the batch's answer rows as the network makes them, `[rows, vocabulary]`.

    The rows are selected from the hidden states before the output head, so whatever an
    architecture does to its logits still happens, and `[batch, sequence, vocabulary]` never exists.
    """

    def select(hidden: Tensor) -> Tensor:
        return hidden.flatten(0, 1)[batch.rows]

    return _run(model, batch.input_ids, batch.attention_mask, select)


def _run(
    model: LanguageModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    before_head: Callable[[Tensor], Tensor],
) -> Tensor:
    """The network's logits, where its head gets what `before_head` makes of the hidden states."""

    def change(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (before_head(inputs[0]), *inputs[1:])

    handle = _output_head(model).register_forward_pre_hook(change)
    try:
        output = model.network(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    finally:
        handle.remove()
    logits: Tensor = output.logits
    return logits
