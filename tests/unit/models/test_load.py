"""`coplms.models.load`: what loads, and what each refusal says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from coplms.errors import ModelError
from coplms.models.language_model import LanguageModel
from coplms.models.load import (
    check_same_tokenizer,
    device_name,
    load_model,
    resolve_device,
    vocab_size,
)
from coplms.models.zoo_tokenizers import train_tokenizer

MakeModel = Callable[[str], LanguageModel]
CPU = torch.device("cpu")


@pytest.fixture
def folder(make_model: MakeModel, tmp_path: Path) -> Path:
    return saved(make_model("llama"), tmp_path / "model")


def saved(model: LanguageModel, folder: Path) -> Path:
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_a_folder_loads_as_it_was_saved(make_model: MakeModel, folder: Path) -> None:
    model = load_model("llm", str(folder), "float32", CPU)
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(model.network(ids).logits, make_model("llama").network(ids).logits)
    assert (model.name, model.path, model.device) == ("llm", str(folder), CPU)
    assert not model.network.training
    assert model.network.config._attn_implementation == "sdpa"
    assert vocab_size(model) == 300


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [
        ("llama", "sdpa"),
        ("gpt_neox", "sdpa"),
        ("gpt2", "sdpa"),
        ("qwen2", "sdpa"),
        ("mistral", "sdpa"),
        ("bloom", "eager"),
        ("gemma2", "eager"),
    ],
)
def test_attention_is_pytorchs_own_where_transformers_knows_how(
    architecture: str, attention: str, make_model: MakeModel, tmp_path: Path
) -> None:
    path = saved(make_model(architecture), tmp_path)
    model = load_model("llm", str(path), "float32", CPU)
    assert model.network.config._attn_implementation == attention


def test_the_dtype_is_as_asked(folder: Path) -> None:
    model = load_model("llm", str(folder), "bfloat16", CPU)
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}


def test_a_generic_tokenizer_stays_as_its_file_says(make_model: MakeModel, tmp_path: Path) -> None:
    text = ["the lazy dog"] * 9
    model = make_model("qwen2")
    model.tokenizer = train_tokenizer("unigram", 300, text)
    loaded = load_model("llm", str(saved(model, tmp_path)), "float32", CPU).tokenizer
    assert loaded.tokenize(text[0]) == model.tokenizer.tokenize(text[0])


def test_a_missing_padding_token_becomes_eos(folder: Path) -> None:
    edit_tokenizer(folder, "pad_token")
    tokenizer = load_model("llm", str(folder), "float32", CPU).tokenizer
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>"


def test_a_missing_eos_token_is_refused(folder: Path) -> None:
    edit_tokenizer(folder, "eos_token")
    with pytest.raises(ModelError, match=r"'llm': the tokenizer of .* has no EOS token"):
        load_model("llm", str(folder), "float32", CPU)


def edit_tokenizer(folder: Path, key: str) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings[key]
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize("path", ["/no/such/folder", "./absent", "a/b/c", "my model", ""])
def test_a_path_that_is_nothing_is_refused(path: str) -> None:
    with pytest.raises(ModelError, match=r"'llm'.*(there is no folder|no config\.json).*mini/NAME"):
        load_model("llm", path, "float32", CPU)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_model("llm", str(tmp_path), "float32", CPU)


def test_a_file_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a file, not a folder"):
        load_model("llm", str(folder / "config.json"), "float32", CPU)


def test_a_hub_name_without_a_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelError, match=r"(?s)'nobody/nothing' is no folder.*HF_HUB_OFFLINE is set"
    ):
        load_model("llm", "nobody/nothing", "float32", CPU)


def test_broken_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match=r"the folder .* cannot be loaded"):
        load_model("llm", str(folder), "float32", CPU)


def test_missing_weights_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"has no weights for lm_head\.weight"):
        load_model("llm", str(folder), "float32", CPU)


def test_another_models_tokenizer_is_refused(folder: Path) -> None:
    texts = [f"{a}{b}{c}" for a in "abcdef" for b in "ghijkl" for c in "mnopqr"]
    train_tokenizer("fallback_bpe", 330, texts).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"token ids up to 3\d\d, but the network has 300 rows"):
        load_model("llm", str(folder), "float32", CPU)


def test_devices_are_resolved() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == CPU
    assert device_name(CPU) == "cpu"


def test_a_gpu_without_a_number_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 0)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert device_name(resolve_device("cuda:1")) == "cuda:1 (GPU 1)"
    with pytest.raises(ModelError, match="'cuda:2', and PyTorch sees 2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cuda:x"])
def test_an_absent_device_is_refused(device: str) -> None:
    with pytest.raises(ModelError, match=f"device is '{device}'"):
        resolve_device(device)


def with_tokenizer(model: LanguageModel, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    return LanguageModel("dpm", model.network, tokenizer, model.path)


def test_the_same_tokenizer_is_accepted(make_model: MakeModel, folder: Path) -> None:
    check_same_tokenizer(make_model("llama"), load_model("dpm", str(folder), "float32", CPU))


@pytest.mark.parametrize(
    ("left", "right", "difference"),
    [
        (["ab"], ["abc"], "vocabularies have 260 and 261 tokens"),
        (["ab"], ["ac"], "token 259 is 'ab' and 'ac'"),
    ],
)
def test_another_tokenizer_is_refused(
    left: list[str], right: list[str], difference: str, make_model: MakeModel
) -> None:
    model = make_model("llama")
    llm = with_tokenizer(model, train_tokenizer("byte_bpe", 300, left))
    dpm = with_tokenizer(model, train_tokenizer("byte_bpe", 300, right))
    with pytest.raises(ModelError, match=f"must have the tokenizer .* but .*{difference}"):
        check_same_tokenizer(llm, dpm)


def test_other_merges_and_eos_are_refused(make_model: MakeModel) -> None:
    model = make_model("llama")
    tokenizers = [train_tokenizer("byte_bpe", 300, ["ab"]) for _ in range(2)]
    tokenizers[1].eos_token = "<s>"
    llm, dpm = (with_tokenizer(model, tokenizer) for tokenizer in tokenizers)
    with pytest.raises(ModelError, match="EOS tokens are '</s>' and '<s>'"):
        check_same_tokenizer(llm, dpm)
