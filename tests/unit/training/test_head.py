import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from coplms.losses.fused_rows import fused_cross_entropy
from coplms.losses.rows import token_nll
from coplms.models.adapters import adapter_parameters, add_adapter
from coplms.models.language_model import LanguageModel
from coplms.training.batches import Batch
from coplms.training.head import HeadForm, hidden_rows, read_head, row_logits

from .reading import CONFIGS, make_batch, make_model


@pytest.fixture
def tokenizer(tokenizers: dict[str, PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    return tokenizers["llama"]


def gradients(loss: Tensor, model: LanguageModel) -> list[Tensor | None]:
    parameters = [p for p in model.network.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss, parameters, allow_unused=True))


def assert_same_loss(model: LanguageModel, batch: Batch) -> None:
    """Loss and all gradients of the network's own logits and of the fused way."""
    form = read_head(model)
    assert form is not None
    wanted = token_nll(row_logits(model, batch), batch.targets).mean()
    found = fused_cross_entropy(hidden_rows(model, batch, form), width=2)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    pairs = zip(gradients(found, model), gradients(wanted, model), strict=True)
    for gradient, target in pairs:
        assert (gradient is None) == (target is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, target, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architectures_head_gives_the_networks_own_loss(
    name: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert_same_loss(make_model(name, tokenizer), make_batch())


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("name", ["llama", "llama tied", "phi with bias", "cohere scaled"])
def test_adapters_on_the_head_are_part_of_it(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(name, tokenizer)
    for number, adapter in enumerate(("one", "two")):
        config = LoraConfig(r=2 + number, lora_alpha=3.0, target_modules=["lm_head", "v_proj"])
        model.network.add_adapter(config, adapter)
    model.network.set_adapter(["one", "two"])
    for parameter in model.network.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter) * 0.1
    assert_same_loss(model, make_batch())
    model.network.disable_adapters()
    form = read_head(model)
    assert form is not None
    assert len(hidden_rows(model, make_batch(), form).inputs) == 1


def test_the_form_says_what_follows_the_linear_map(tokenizer: PreTrainedTokenizerFast) -> None:
    forms = {name: read_head(make_model(name, tokenizer)) for name in CONFIGS}
    assert forms["llama"] == forms["phi with bias"] == HeadForm()
    assert forms["gemma2 soft-capped"] == HeadForm(softcap=1.5)
    assert forms["cohere scaled"] == HeadForm(factor=0.25)
    assert forms["granite scaled"] == HeadForm(factor=1 / 3)


def test_a_head_that_does_something_unknown_is_left_to_the_network(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    # A network that shifts its logits where no configuration tells it.
    model = make_model("llama", tokenizer)
    model.network.lm_head.register_forward_hook(lambda _, __, logits: logits + logits.square())
    assert read_head(model) is None

    class Doubled(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return 2 * super().forward(hidden)

    model = make_model("llama", tokenizer)
    head = Doubled(16, 50, bias=False).double()
    model.network.set_output_embeddings(head)
    assert read_head(model) is None


def test_an_adapter_of_another_kind_is_left_to_the_network(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = make_model("llama", tokenizer)
    config = LoraConfig(r=2, target_modules=["lm_head"], use_dora=True)
    model.network.add_adapter(config, "dora")
    assert read_head(model) is None


def test_trying_a_head_leaves_the_model_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    for mode in (True, False):
        model.network.train(mode)
        read_head(model)
        assert model.network.training is mode
    assert not model.network.lm_head._forward_pre_hooks


def test_hidden_rows_make_no_logits(tokenizer: PreTrainedTokenizerFast) -> None:
    model, batch = make_model("llama", tokenizer), make_batch()
    shapes: list[torch.Size] = []
    model.network.lm_head.register_forward_hook(lambda _, __, z: shapes.append(z.shape))
    hidden_rows(model, batch, HeadForm())
    assert all(shape.numel() == 0 for shape in shapes)


def test_adapters_elsewhere_train_through_the_hidden_rows(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model, batch = make_model("llama", tokenizer), make_batch()
    add_adapter(model, "own", 2, 4.0, 0.0, (), seed=0)
    loss = fused_cross_entropy(hidden_rows(model, batch, HeadForm()), width=3)
    found = torch.autograd.grad(loss, list(adapter_parameters(model, "own").values()))
    assert any(gradient.abs().max() > 0 for gradient in found)


def test_autocast_computes_the_heads_products_in_bfloat16(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model, batch = make_model("llama", tokenizer, torch.float32), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        rows = hidden_rows(model, batch, HeadForm())
        assert rows.inputs[0].dtype == rows.head.weights[0].dtype == torch.bfloat16
        loss = fused_cross_entropy(rows, width=3)
    assert loss.dtype == torch.float32
    exact = token_nll(row_logits(model, batch), batch.targets).mean()
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)
    loss.backward()
    gradient = model.network.lm_head.weight.grad
    assert gradient is not None
    assert gradient.dtype == torch.float32
