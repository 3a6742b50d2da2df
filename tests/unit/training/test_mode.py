"""The state of training steps: dropout, checkpoints and precision change what they should only."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedTokenizerFast

from coplms.config.compute import ComputeConfig
from coplms.config.method import OptimizerConfig
from coplms.config.model import ZooModelConfig
from coplms.data.example import Example
from coplms.models.adapters import adapter_parameters, add_adapter, base_parameters, set_trainable
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_networks import build_network
from coplms.training.encoding import Encoder
from coplms.training.learner import Learner
from coplms.training.loop import StepLoss
from coplms.training.mode import in_step_mode, training_mode
from coplms.training.part import Part
from coplms.training.phases import Phase, tune
from coplms.training.pools import Pool
from coplms.training.sft import sft_step

MakeLearner = Callable[..., Learner]
Gradients = dict[str, torch.Tensor]
CHECKPOINTS = ComputeConfig(gradient_checkpointing=True)
ARCHITECTURES = ("llama", "gpt_neox", "bloom", "gpt2", "qwen2")


def zoo_learner(
    architecture: str, tuning: str, dropout: float, tokenizer: PreTrainedTokenizerFast
) -> Learner:
    """A mini model of two layers, with dropout in its blocks and its adapter."""
    recipe = ZooModelConfig(
        name="mini",
        architecture=architecture,
        tokenizer="byte_bpe",
        vocab_size=330,
        hidden_size=16,
        layers=2,
        heads=2,
    )
    model = LanguageModel("mini", build_network(recipe, tokenizer, seed=0), tokenizer, "mini")
    for module in model.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = dropout
    if tuning == "lora":
        add_adapter(model, "own", 2, 4.0, dropout, (), 0)
        for layer in model.network.modules():
            if isinstance(layer, LoraLayer):  # B is 0 at first, and A would get no gradient
                nn.init.normal_(layer.lora_B["own"].weight)
        set_trainable(model, adapter_parameters(model, "own").values())
    else:
        set_trainable(model, base_parameters(model).values())
    return Learner(model, Encoder(model, "{input}", 64))


def loss_and_gradients(
    learner: Learner, examples: Sequence[Example], compute: ComputeConfig
) -> tuple[torch.Tensor, Gradients]:
    network, learner.compute = learner.model.network, compute
    torch.manual_seed(5)
    with training_mode([learner], [learner]):
        loss = in_step_mode(
            [learner], partial(sft_step, learner, learner.encoder(examples))
        )().total
        loss.backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return loss.detach(), gradients


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpoints_change_neither_loss_nor_gradients(
    architecture: str,
    tuning: str,
    dropout: float,
    tokenizers: dict[str, PreTrainedTokenizerFast],
    examples: Sequence[Example],
) -> None:
    learner = zoo_learner(architecture, tuning, dropout, tokenizers["llama"])
    loss, gradients = loss_and_gradients(learner, examples, ComputeConfig())
    again, found = loss_and_gradients(learner, examples, CHECKPOINTS)
    assert torch.equal(again, loss)
    assert found.keys() == gradients.keys()
    trained = [name for name, p in learner.model.network.named_parameters() if p.requires_grad]
    assert sorted(gradients) == sorted(trained)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient)
    assert any(gradient.abs().sum() > 0 for gradient in gradients.values())


def test_dropout_is_what_the_checkpoints_repeat(
    tokenizers: dict[str, PreTrainedTokenizerFast], examples: Sequence[Example]
) -> None:
    losses = [
        loss_and_gradients(
            zoo_learner("gpt2", "full", dropout, tokenizers["llama"]),
            examples,
            CHECKPOINTS,
        )[0]
        for dropout in (0.0, 0.3)
    ]
    assert losses[0] != losses[1]


def trained(
    learner: Learner, examples: Sequence[Example], compute: ComputeConfig, phase: Phase
) -> Gradients:
    """The weights after a few steps of tuning, and the steps' mean loss."""
    config = OptimizerConfig(learning_rate=0.01)
    part = Part("own", base_parameters(learner.model), config, 0.01, 3)
    learner.parts["own"], learner.compute = part, compute
    torch.manual_seed(7)
    last = tune(learner, part, [Pool(examples, 3)], 3, config, phase)
    return {**part.values(), "loss": torch.tensor(last["loss"])}


def test_a_phase_with_checkpoints_ends_with_the_same_weights(
    tokenizers: dict[str, PreTrainedTokenizerFast], examples: Sequence[Example], phase: Phase
) -> None:
    plain, found = (
        trained(zoo_learner("gpt2", "full", 0.3, tokenizers["llama"]), examples, compute, phase)
        for compute in (ComputeConfig(), CHECKPOINTS)
    )
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value)


def test_autocast_computes_in_bfloat16_and_leaves_weights_and_loss_in_float32(
    tokenizers: dict[str, PreTrainedTokenizerFast], examples: Sequence[Example], phase: Phase
) -> None:
    results: list[Gradients] = []
    for autocast, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        learner = zoo_learner("llama", "full", 0.0, tokenizers["llama"])
        seen: set[torch.dtype] = set()
        layer = learner.model.network.model.layers[0].mlp
        layer.register_forward_hook(lambda _, __, output, seen=seen: seen.add(output.dtype))
        compute = ComputeConfig(autocast=autocast, loss="plain")
        results.append(trained(learner, examples, compute, phase))
        assert seen == {dtype}
        assert {p.dtype for p in learner.model.network.parameters()} == {torch.float32}
    # bfloat16 has 8 bits: the losses agree to some parts in a thousand, and are not the same.
    exact, mixed = results
    torch.testing.assert_close(mixed["loss"], exact["loss"], rtol=0.01, atol=0)
    assert mixed["loss"] != exact["loss"]


def test_autocast_is_off_outside_steps_and_for_models_that_do_not_want_it(
    make_learner: MakeLearner,
) -> None:
    learner = make_learner("llama")
    states: list[tuple[bool, torch.dtype]] = []

    def step() -> StepLoss:
        states.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return StepLoss(torch.zeros(()), {}, 1, 1, 1)

    for autocast in (False, True):
        learner.compute = ComputeConfig(autocast=autocast)
        in_step_mode([learner], step)()
        assert not torch.is_autocast_enabled("cpu")
    assert states[0][0] is False
    assert states[1] == (True, torch.bfloat16)


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_with_everything_on(
    architecture: str,
    tuning: str,
    tokenizers: dict[str, PreTrainedTokenizerFast],
    examples: Sequence[Example],
) -> None:
    learner = zoo_learner(architecture, tuning, 0.1, tokenizers["llama"])
    compute = ComputeConfig(autocast=True, gradient_checkpointing=True)
    loss, gradients = loss_and_gradients(learner, examples, compute)
    assert loss.dtype == torch.float32
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert not learner.model.network.training
