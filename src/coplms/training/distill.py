"""Distillation LLM -> DPM over one vocabulary, on plain text and whole examples."""

import numpy as np
from torch import Tensor

from coplms.losses.mutual import Exchange
from coplms.training.encoding import EncodedExample
from coplms.training.loop import StepLoss
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import align_pairs
from coplms.training.saml import mutual_step


def distill_step(pairing: Pairing, blocks: Tensor, temperature: float) -> StepLoss:
    """KL(LLM || DPM) plus cross-entropy over every token of full blocks, in nats per token.

    Mutual learning of two models with one tokenizer, where the LLM does not learn: every token is a
    chunk of its own, and no gate is shut.

    Args:
        pairing: The LLM (left; no graph, no gradient) and the DPM.
        blocks: Token ids without padding, `[batch, tokens]`, on the host.
        temperature: Softens both distributions; the divergence is scaled by its square.
    """
    ends = np.arange(1, blocks.shape[1], dtype=np.int64)
    examples = [EncodedExample((first,), tuple(rest), ends) for first, *rest in blocks.tolist()]
    exchange = Exchange(1.0, temperature, gate="none")
    step = mutual_step(pairing, align_pairs(examples, examples), exchange, learns=(False, True))
    metrics = {"loss": step.total.detach(), "kl": step.metrics["right_kl"]}
    return StepLoss(
        step.total,
        {**metrics, "ce": step.metrics["right_ce"]},
        tokens=step.tokens,
        answer_tokens=step.answer_tokens,
        places=step.places,
    )
