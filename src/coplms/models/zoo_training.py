"""Pre-training of one mini model: repeatable, and resumable after a kill."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from coplms.models.zoo_copying import COPYING_ALONE, copies

REPORT_STEPS = 20
CHECKPOINT_STEPS = 200
_WARMUP, _FINAL = 0.05, 0.1
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")

Losses = Mapping[str, float]
"""`loss` on text and `copying` on copies, in nats per token; what a step had none of is absent."""

Report = Callable[[int, int, Losses], None]
"""Gets step, steps and losses."""


@dataclass(frozen=True)
class Pretraining:
    """How a mini model is trained.

    Attributes:
        steps: Optimiser steps.
        batch_size: Blocks per step.
        learning_rate: Peak; it rises over 5 % of the steps and falls to a tenth by a cosine.
        seed: Decides the order of the blocks, and the copies.
        copies: Repeating sequences per step (`coplms.models.zoo_copying`); 0 for text alone.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    copies: int = 0


def pretrain(
    network: PreTrainedModel,
    blocks: Int[Tensor, "blocks tokens_plus_one"],
    recipe: Pretraining,
    checkpoint: Path,
    report: Report | None = None,
) -> None:
    """Trains `network` in place to predict the next token of `blocks`.

    Continues from `checkpoint` where that file exists, to the same weights as without a stop.

    Args:
        network: Without dropout; on the device to train on.
        blocks: Token ids; each block ends with the first token of its follower.
        recipe: Steps, batch, learning rate and seed.
        checkpoint: File that is written every 200 steps; the caller removes it.
        report: Called every 20 steps and after the last one.
    """
    network.train()
    optimizer = _optimizer(network, recipe.learning_rate)
    done = _restore(checkpoint, network, optimizer)
    order = _order(len(blocks), recipe)
    parameters = list(network.parameters())
    known = torch.unique(blocks)
    for step in range(done, recipe.steps):
        rate = recipe.learning_rate * _schedule(step, recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = {}
        for name, tokens in _sequences(blocks[order[step]], known, recipe, step).items():
            losses[name] = _loss(network, tokens.to(network.device, non_blocking=True))
            torch.autograd.backward(losses[name])
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        finished = step + 1
        if report and (finished % REPORT_STEPS == 0 or finished == recipe.steps):
            report(finished, recipe.steps, {name: loss.item() for name, loss in losses.items()})
        if finished % CHECKPOINT_STEPS == 0 and finished < recipe.steps:
            _save(checkpoint, network, optimizer, finished)
    network.train(False)


def _sequences(
    text: Int[Tensor, "batch tokens_plus_one"],
    known: Int[Tensor, " tokens"],
    recipe: Pretraining,
    step: int,
) -> dict[str, Int[Tensor, "_ _"]]:
    """What a step learns to foresee, by the name of its loss."""
    if not recipe.copies:
        return {"loss": text}
    progress = step / recipe.steps
    generator = torch.Generator().manual_seed(recipe.seed * recipe.steps + step)
    again = {"copying": copies(recipe.copies, known, progress, generator)}
    return again if progress < COPYING_ALONE else {"loss": text, **again}


def _loss(network: PreTrainedModel, tokens: Int[Tensor, "batch tokens_plus_one"]) -> Tensor:
    """Mean nats per token."""
    logits = network(input_ids=tokens[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def _optimizer(network: PreTrainedModel, learning_rate: float) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True)


def _schedule(step: int, steps: int) -> float:
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return _FINAL + (1 - _FINAL) * 0.5 * (1 + math.cos(math.pi * progress))


def _order(num_blocks: int, recipe: Pretraining) -> Int[Tensor, "steps batch"]:
    """Which blocks each step sees: one shuffled pass over all of them after the other."""
    generator = torch.Generator().manual_seed(recipe.seed)
    needed = recipe.steps * recipe.batch_size
    passes = [
        torch.randperm(num_blocks, generator=generator)
        for _ in range(math.ceil(needed / num_blocks))
    ]
    order = torch.cat([*passes, torch.empty(0, dtype=torch.long)])
    return order[:needed].view(recipe.steps, recipe.batch_size)


def _save(
    checkpoint: Path, network: PreTrainedModel, optimizer: torch.optim.AdamW, step: int
) -> None:
    tensors = {}
    for name, parameter in network.named_parameters():
        tensors[f"weight/{name}"] = parameter.detach().cpu()
        for key in _MOMENTS:
            tensors[f"{key}/{name}"] = optimizer.state[parameter][key].cpu()
    fresh = checkpoint.with_name(f"{checkpoint.name}.{os.getpid()}")
    save_file(tensors, fresh, metadata={"step": str(step)})
    fresh.replace(checkpoint)


def _restore(checkpoint: Path, network: PreTrainedModel, optimizer: torch.optim.AdamW) -> int:
    """Steps that were done before; 0 without a readable checkpoint."""
    if not checkpoint.is_file():
        return 0
    try:
        with safe_open(checkpoint, framework="pt") as file:
            for name, parameter in network.named_parameters():
                parameter.data.copy_(file.get_tensor(f"weight/{name}"))
                optimizer.state[parameter] = {
                    key: file.get_tensor(f"{key}/{name}").to(parameter.device) for key in _MOMENTS
                }
            return int(file.metadata()["step"])
    except SafetensorError:
        checkpoint.unlink()
        return 0
