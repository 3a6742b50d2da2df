from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from coplms.config.method import OptimizerConfig
from coplms.consortium.members import DOMAIN, SHARED, pair_learners, use_domain_adapter
from coplms.models.adapters import active_adapters, adapter_parameters, add_adapter, base_parameters
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_tokenizers import train_tokenizer
from coplms.training.encoding import Encoder
from coplms.training.learner import Learner
from coplms.training.part import Part


def make_proxy(shared_is_adapter: bool) -> Learner:
    tokenizer = train_tokenizer("byte_bpe", 300, ["pay the bill of the shop"])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = LanguageModel("dpm", AutoModelForCausalLM.from_config(config).eval(), tokenizer, "dpm")
    learner = Learner(model, Encoder(model, "{input}", 32), shared_is_adapter=shared_is_adapter)
    names = [SHARED, DOMAIN] if shared_is_adapter else [DOMAIN]
    for name in names:
        add_adapter(model, name, 2, 4.0, 0.0, (), 0)
    parameters = adapter_parameters(model, SHARED) if shared_is_adapter else base_parameters(model)
    learner.parts[SHARED] = Part("bank/dpm-shared", parameters, OptimizerConfig(), 0.1, 1)
    return learner


@pytest.mark.parametrize("shared_is_adapter", [True, False])
def test_the_domain_adapter_is_switched_and_the_shared_part_always_acts(
    shared_is_adapter: bool,
) -> None:
    dpm = make_proxy(shared_is_adapter)
    for parameter in adapter_parameters(dpm.model, DOMAIN).values():
        parameter.data.fill_(0.3)
    ids = torch.tensor([[5, 6, 7]])
    use_domain_adapter(dpm, on=True)
    assert active_adapters(dpm.model)[-1] == DOMAIN
    with_domain = dpm.model.network(input_ids=ids).logits
    use_domain_adapter(dpm, on=False)
    assert active_adapters(dpm.model) == ((SHARED,) if shared_is_adapter else ())
    without = dpm.model.network(input_ids=ids).logits
    assert not torch.equal(with_domain, without)
    use_domain_adapter(dpm, on=True)
    assert torch.equal(dpm.model.network(input_ids=ids).logits, with_domain)


def test_learners_are_paired_by_the_classes_of_their_tokenizers(tmp_path: Path) -> None:
    left, right = make_proxy(shared_is_adapter=True), make_proxy(shared_is_adapter=False)
    pairing = pair_learners(left, right, tmp_path)
    assert pairing.left is left
    assert pairing.right is right
    assert torch.equal(pairing.seats[0].classes, pairing.seats[1].classes)
    assert len(list(tmp_path.iterdir())) == 1
    again = pair_learners(left, right, tmp_path)
    assert torch.equal(again.seats[0].classes, pairing.seats[0].classes)
