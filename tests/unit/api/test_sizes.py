"""`coplms.api.sizes`: networks of the sizes that are written, and sizes that make none."""

import pytest
import torch
from pydantic import JsonValue

from coplms.api.sizes import network_of
from coplms.errors import ConfigError


def count(sizes: dict[str, JsonValue]) -> int:
    with torch.device("meta"):
        network = network_of("one/slm", sizes, torch.bfloat16)
    assert {value.dtype for value in network.parameters()} == {torch.bfloat16}
    return sum(value.numel() for value in network.parameters())


def test_a_llama_has_the_weights_worked_out_by_hand() -> None:
    sizes: dict[str, JsonValue] = {
        **{"model_type": "llama", "vocab_size": 10, "hidden_size": 4, "intermediate_size": 6},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
    }
    layer = 2 * 4 * 4 + 2 * 4 * 2 + 3 * 4 * 6 + 2 * 4
    assert count(sizes | {"tie_word_embeddings": True}) == 10 * 4 + 2 * layer + 4
    assert count(sizes | {"tie_word_embeddings": False}) == 2 * 10 * 4 + 2 * layer + 4


def test_keys_may_have_the_names_of_the_kind_or_the_general_ones() -> None:
    own: dict[str, JsonValue] = {"model_type": "bloom", "vocab_size": 10, "hidden_size": 4}
    one = count(own | {"n_layer": 3, "n_head": 2})
    assert one == count(own | {"num_hidden_layers": 3, "num_attention_heads": 2})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"model_type": "lama"}, "model_type is 'lama', .* Did you mean 'llama'"),
        ({"model_type": "t5"}, "model_type is 't5', which is no causal language model"),
        ({"hiden_size": 8}, "hiden_size is unknown to llama. Did you mean 'hidden_size'"),
        ({"n_layer": 8}, "n_layer is unknown to llama. .*num_hidden_layers"),
        ({"hidden_size": "big"}, r"\(hidden_size big\) make no llama: .*expected int, got str"),
        ({"hidden_size": 9, "num_attention_heads": 2}, r"hidden size \(9\) is not a multiple"),
        ({"num_attention_heads": 0}, "make no llama: integer division or modulo by zero"),
        ({"num_hidden_layers": 0}, "make no llama: it has no layers"),
        ({"vocab_size": -1}, "make no llama: .*negative"),
        ({"hidden_act": "loud"}, "hidden_act loud.* make no llama: .*loud"),
    ],
)
def test_sizes_that_make_no_model_are_refused(sizes: dict[str, JsonValue], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        count({"model_type": "llama", **sizes})
    assert str(caught.value).startswith("the sizes of 'one/slm'")
