"""Distillation LLM -> DPM over one vocabulary, on plain text and whole examples."""

import torch

from coplms.losses.rows import divergence, probabilities, token_nll
from coplms.models.language_model import LanguageModel
from coplms.training.loop import StepLoss


def distill_step(
    teacher: LanguageModel, student: LanguageModel, blocks: torch.Tensor, temperature: float
) -> StepLoss:
    """KL(LLM || DPM) plus cross-entropy over every token of full blocks, in nats per token.

    Args:
        teacher: The LLM; no graph, no gradient.
        student: The DPM.
        blocks: Token ids without padding, `[batch, tokens]`.
        temperature: Softens both distributions; the divergence is scaled by its square.
    """
    with torch.no_grad():
        peer = teacher.network(input_ids=blocks[:, :-1], use_cache=False).logits.flatten(0, 1)
    own = student.network(input_ids=blocks[:, :-1], use_cache=False).logits.flatten(0, 1)
    kl = divergence(probabilities(own, temperature), probabilities(peer, temperature)).mean()
    ce = token_nll(own, blocks[:, 1:].flatten()).mean()
    total = temperature**2 * kl + ce
    metrics = {"loss": total.detach(), "kl": kl.detach(), "ce": ce.detach()}
    return StepLoss(total, metrics, 2 * blocks.numel())
