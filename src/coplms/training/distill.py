"""Distillation LLM -> DPM over one vocabulary, on plain text and whole examples."""

import torch

from coplms.losses import divergence
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
    peer_p = (peer.float() / temperature).softmax(-1)
    own_p = (own.float() / temperature).softmax(-1)
    kl = divergence(own_p, peer_p).mean()
    ce = torch.nn.functional.cross_entropy(own.float(), blocks[:, 1:].flatten())
    total = temperature**2 * kl + ce
    metrics = {"loss": total.detach(), "kl": kl.detach(), "ce": ce.detach()}
    return StepLoss(total, metrics, 2 * blocks.numel())
