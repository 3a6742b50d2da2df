"""`coplms.methods.fedcollm`: its losses, against its paper's formulas on logits."""

import pytest
import torch

from coplms.config.method import FedCollmConfig
from coplms.consortium.members import pair_learners
from coplms.methods.fedcollm import exchange_of
from coplms.training.batches import collate
from coplms.training.head import row_logits
from coplms.training.saml import mutual_step
from tests.unit.training.conftest import EXAMPLES, MakeLearner, make_learner, tokenizers

__all__ = ["make_learner", "tokenizers"]


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_both_models_learn_answers_and_each_others_distributions(
    make_learner: MakeLearner, weight: float, temperature: float
) -> None:
    """L_g = CE(g) + lambda KL(f || g) and L_f = CE(f) + lambda KL(g || f), means over tokens."""
    small, large = make_learner(), make_learner()
    with torch.no_grad():
        for parameter in large.model.network.parameters():
            parameter.add_(
                0.3 * torch.sin(torch.arange(parameter.numel()).reshape(parameter.shape))
            )
    pairing = pair_learners(small, large, None)
    settings = FedCollmConfig(weight=weight, temperature=temperature)
    step = mutual_step(pairing, pairing.encoder(EXAMPLES), exchange_of(settings))

    wanted = 0.0
    logs = []
    for learner in (small, large):
        batch = collate(learner.encoder(EXAMPLES), learner.pad, learner.model.device)
        logits = row_logits(learner.model, batch).detach()
        wanted += torch.nn.functional.cross_entropy(logits, batch.targets).item()
        logs.append(torch.log_softmax(logits / temperature, 1))
    for own, peer in (logs, logs[::-1]):
        kl = (peer.exp() * (peer - own)).sum(1).mean().item()
        assert kl > 0.01
        wanted += weight * temperature**2 * kl
    assert step.total.item() == pytest.approx(wanted, rel=1e-5)
