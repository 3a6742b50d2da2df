"""`coplms.api.outline`: models without weights, and what is refused about their files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import JsonValue

from coplms.api.hub import Hub
from coplms.api.outline import outline
from coplms.config.model import ModelConfig
from coplms.config.run import RunConfig
from coplms.errors import ConfigError, CoplmsError, ModelError
from coplms.models.load import load_model, vocab_size
from coplms.models.zoo import build_zoo

MakeConfig = Callable[..., RunConfig]
CPU = torch.device("cpu")


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.named_parameters()}


@pytest.mark.parametrize("name", ["llm", "near", "far"])
def test_an_outline_has_the_models_shapes_and_tokenizer_but_no_values(
    make_config: MakeConfig, model_folders: dict[str, Path], name: str
) -> None:
    path = str(model_folders[name])
    found = outline(make_config(dtype="bfloat16"), {}, ModelConfig(model=path), "x")
    model = load_model("x", path, "float32", CPU)
    assert shapes(found.model.network) == shapes(model.network)
    assert found.model.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert found.model.device.type == "meta"
    assert found.model.network.dtype == torch.bfloat16
    assert (found.origin, found.can_encode) == ("ready", True)


def test_a_mini_model_to_be_built_has_its_size_already(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    recipe = {"name": "a", "architecture": "gpt2", "tokenizer": "byte_bpe", "vocab_size": 300}
    recipe |= {"hidden_size": 16, "layers": 1, "heads": 2, "steps": 0}
    config = make_config(zoo={"models": [recipe], "block_tokens": 8})
    folder = tmp_path / "absent"
    found = outline(config, {"a": folder}, ModelConfig(model="mini/a"), "x")
    assert config.zoo is not None
    built = build_zoo(config.zoo, ["one two three four " * 50, "five six"], tmp_path / "zoo")["a"]
    model = load_model("x", str(built), "float32", CPU)
    assert (found.origin, found.build_steps, found.can_encode) == ("build", 0, False)
    assert not folder.exists()
    # Little text makes few tokens: the outline is as large as the recipe allows.
    assert vocab_size(found.model) == 300 >= vocab_size(model)
    assert len(shapes(found.model.network)) == len(shapes(model.network))


SIZES: dict[str, JsonValue] = {
    **{"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 32},
    **{"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64},
}


def test_a_model_that_is_not_to_be_had_has_its_size_as_written(make_config: MakeConfig) -> None:
    model = ModelConfig(model="nobody/nothing", sizes=SIZES)
    found = outline(make_config(dtype="bfloat16"), {}, model, "x", Hub(offline=True))
    assert (found.origin, found.can_encode, found.source) == ("written", False, "nobody/nothing")
    assert found.model.device.type == "meta"
    assert found.model.network.dtype == torch.bfloat16
    assert vocab_size(found.model) == len(found.model.tokenizer) == 40
    # Two embeddings of 40 x 16; attention, feed-forward layers and norms of one layer; a norm.
    assert found.written == 2 * 640 + 4 * 256 + 3 * 512 + 2 * 16 + 16
    assert found.written == sum(value.numel() for value in found.model.network.parameters())


def test_a_model_that_is_here_counts_more_than_what_is_written(
    make_config: MakeConfig, model_folders: dict[str, Path]
) -> None:
    model = ModelConfig(model=str(model_folders["llm"]), sizes=SIZES)
    found = outline(make_config(), {}, model, "x", Hub(offline=True))
    assert (found.origin, found.can_encode) == ("ready", True)
    real = sum(value.numel() for value in found.model.network.parameters())
    assert real != found.written == 2 * 640 + 4 * 256 + 3 * 512 + 2 * 16 + 16


def test_written_sizes_say_how_much_a_model_reads(make_config: MakeConfig) -> None:
    model = ModelConfig(model="nobody/nothing", sizes=SIZES | {"max_position_embeddings": 32})
    with pytest.raises(ConfigError, match=r"data\.max_length is 64, .* at most 32 tokens"):
        outline(make_config(), {}, model, "x", Hub(offline=True))


def test_a_name_that_no_hub_has_is_refused_whatever_is_written(make_config: MakeConfig) -> None:
    model = ModelConfig(model="./absent", sizes=SIZES)
    with pytest.raises(ModelError, match=r"there is no folder '\./absent'"):
        outline(make_config(), {}, model, "x", Hub(offline=True))


def test_a_model_of_which_nothing_is_written_is_refused_at_once(make_config: MakeConfig) -> None:
    model = ModelConfig(model="nobody/nothing")
    with pytest.raises(ModelError, match=r"no answer\. With its `sizes` .* HF_HUB_OFFLINE is set"):
        outline(make_config(), {}, model, "x", Hub(offline=True))


def test_a_run_that_is_not_dry_ignores_written_sizes(make_config: MakeConfig) -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        outline(make_config(), {}, ModelConfig(model="nobody/nothing", sizes=SIZES), "x")


@pytest.fixture
def copied(model_folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(model_folders["llm"], tmp_path / "copy")


def refusal(config: RunConfig, model: str) -> CoplmsError:
    with pytest.raises(CoplmsError) as caught:
        outline(config, {}, ModelConfig(model=model), "llm")
    return caught.value


def test_weights_that_were_cut_off_are_refused(make_config: MakeConfig, copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    error = refusal(make_config(), str(copied))
    assert isinstance(error, ModelError)
    assert str(copied) in str(error)


def test_a_folder_without_weights_is_refused(make_config: MakeConfig, copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    assert "it holds no weights" in str(refusal(make_config(), str(copied)))


def test_an_absent_shard_is_refused(make_config: MakeConfig, copied: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names model-2.safetensors, which is absent" in str(refusal(make_config(), str(copied)))


def test_a_hub_name_is_refused_without_a_network(make_config: MakeConfig) -> None:
    error = refusal(make_config(), "nobody/no-such-model")
    assert isinstance(error, ModelError)
    assert "HF_HUB_OFFLINE is set" in str(error)


def test_a_missing_folder_is_refused(make_config: MakeConfig) -> None:
    assert "there is no folder './absent'" in str(refusal(make_config(), "./absent"))


def test_an_unknown_mini_model_is_refused(make_config: MakeConfig) -> None:
    error = refusal(make_config(), "mini/absent")
    assert isinstance(error, ConfigError)
    assert "'mini/absent' is not a mini model" in str(error)


def test_a_context_beyond_the_model_is_refused(
    make_config: MakeConfig, model_folders: dict[str, Path]
) -> None:
    config = make_config()
    data = config.data.model_copy(update={"max_length": 1025})
    error = refusal(config.model_copy(update={"data": data}), str(model_folders["llm"]))
    assert "data.max_length is 1025" in str(error)
    assert "Lower data.max_length to 1024" in str(error)
