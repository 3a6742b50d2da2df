"""Folder or hub name -> `LanguageModel`; and whether two models fit each other."""

import json
import os
import re
from itertools import zip_longest
from pathlib import Path
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from coplms.config.compute import DEVICE_PATTERN
from coplms.errors import ModelError
from coplms.models.language_model import LanguageModel

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FORMS = (
    "Write a local folder in Hugging Face format, a hub name such as 'organisation/name', "
    "or 'mini/NAME' for a model of the `zoo:` section."
)
LOADING_ERRORS = (OSError, ValueError, ImportError, RuntimeError, SafetensorError)
"""What reading a model's files may raise."""


def resolve_device(device: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for; `cuda` is the first GPU.

    Raises:
        ModelError: If the text is none of these, or names a CUDA device that is absent.
    """
    if not re.fullmatch(DEVICE_PATTERN, device):
        raise ModelError(f"device is '{device}'. Write 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda", 0) if count else torch.device("cpu")
    resolved = torch.device(device)
    if resolved.type == "cpu":
        return resolved
    index = resolved.index or 0
    if index >= count:
        raise ModelError(
            f"device is '{device}', and PyTorch sees {count} CUDA devices here. "
            "Write 'cpu' or 'auto', or install a PyTorch that knows this machine's GPU."
        )
    return torch.device("cuda", index)


def device_name(device: torch.device) -> str:
    """`cpu`, or a GPU with what it is called: `cuda:0 (NVIDIA H100 80GB HBM3)`."""
    if device.type == "cpu":
        return "cpu"
    return f"{device} ({torch.cuda.get_device_name(device)})"


def load_model(
    name: str, path: str, dtype: Literal["float32", "bfloat16"], device: torch.device
) -> LanguageModel:
    """The model at `path` with its tokenizer, in evaluation mode on `device`.

    Attention runs in PyTorch's `scaled_dot_product_attention` where transformers knows how to for
    the architecture, else (BLOOM, Gemma 2) in single operators. A tokenizer without padding token
    pads with its EOS token.

    Args:
        name: What messages and reports will call the model.
        path: Local folder in Hugging Face format, or a hub name.
        dtype: What the weights are held in.
        device: Where the weights go.

    Raises:
        ModelError: If nothing can be loaded from `path`, weights are missing there, the
            tokenizer is not a fast one or has no EOS token, or it does not fit the network.
    """
    check_path(name, path)
    try:
        tokenizer = load_tokenizer(path)
        network, absent = _load_network(path, getattr(torch, dtype))
    except LOADING_ERRORS as error:
        raise ModelError(loading_failed(name, path, error)) from error
    if absent:
        raise ModelError(
            f"model '{name}': {path} has no weights for {absent[0]} "
            f"({len(absent)} tensors are missing). It is not a whole causal language model; "
            "save it with its output head."
        )
    prepare_tokenizer(name, path, tokenizer, _rows(network))
    nn.Module.to(network, device).train(False)
    return LanguageModel(name=name, network=network, tokenizer=tokenizer, path=path)


def vocab_size(model: LanguageModel) -> int:
    """Columns of the model's logits; at least as many as its tokenizer has tokens."""
    return _rows(model.network)


def check_same_tokenizer(llm: LanguageModel, dpm: LanguageModel) -> None:
    """Refuses a DPM whose tokenizer is not the LLM's.

    Raises:
        ModelError: If tokens, merges or EOS token differ; it names the first difference.
    """
    difference = _difference(llm.tokenizer, dpm.tokenizer)
    if difference:
        raise ModelError(
            f"the DPM '{dpm.name}' must have the tokenizer of the LLM '{llm.name}', but "
            f"{difference} (LLM, DPM). Choose a smaller model of the LLM's family as "
            "`dpm.model`, or leave it out to slice the LLM."
        )


def check_path(name: str, path: str) -> None:
    """Refuses what is neither a model's folder nor like a hub name.

    Raises:
        ModelError: Saying what would be one.
    """
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"model '{name}': the folder {path} has no config.json. {_FORMS}")
        return
    if folder.is_file():
        raise ModelError(f"model '{name}': {path} is a file, not a folder. {_FORMS}")
    if path.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(path):
        raise ModelError(f"model '{name}': there is no folder '{path}'. {_FORMS}")


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """The tokenizer as its tokenizer.json says.

    `AutoTokenizer` alone would rebuild some architectures' tokenizers (Qwen2) by their own rules,
    whatever that file holds.
    """
    kind = get_tokenizer_config(path).get("tokenizer_class")
    if kind in {"TokenizersBackend", "PreTrainedTokenizerFast"}:
        generic: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(path)
        return generic
    return cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(path, use_fast=True))


def _load_network(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
    """The network, and the names of weights that were not at `path`."""
    loaded = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True)
    network, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)
    return network, sorted(report["missing_keys"])


def loading_failed(name: str, path: str, error: Exception) -> str:
    """The message for one of `LOADING_ERRORS`, with a remedy."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if Path(path).is_dir():
        return f"model '{name}': the folder {path} cannot be loaded: {reason}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    remedy = (
        "HF_HUB_OFFLINE is set, so only models that were downloaded before can be used; unset it."
        if offline
        else "Check the name and the network; with HF_HUB_OFFLINE=1 downloaded models load "
        "without a network."
    )
    return (
        f"model '{name}': '{path}' is no folder here, and the hub gave: {reason} {remedy} {_FORMS}"
    )


def prepare_tokenizer(name: str, path: str, tokenizer: PreTrainedTokenizerFast, rows: int) -> None:
    """Gives the tokenizer a padding token, or refuses it.

    Args:
        name: The model's, for messages.
        path: The model's, for messages.
        tokenizer: Is changed in place.
        rows: Tokens that the network has embeddings for.

    Raises:
        ModelError: If it is not a fast one, has no EOS token, or is another model's.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"model '{name}': {path} has only the slow tokenizer {type(tokenizer).__name__}, and "
            "coplms needs character offsets. Save its fast form (tokenizer.json) there."
        )
    size = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    eos = tokenizer.eos_token_id
    if eos is None:
        raise ModelError(
            f"model '{name}': the tokenizer of {path} has no EOS token, so answers could not end. "
            "Set eos_token in its tokenizer_config.json."
        )
    if max(size - 1, eos) >= rows:
        raise ModelError(
            f"model '{name}': the tokenizer of {path} has token ids up to {max(size - 1, eos)}, "
            f"but the network has {rows} rows. The folder holds another model's tokenizer."
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token


def _rows(network: PreTrainedModel) -> int:
    head: nn.Linear = network.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head.weight.shape[0]


def _difference(left: PreTrainedTokenizerFast, right: PreTrainedTokenizerFast) -> str | None:
    tokens_left, tokens_right = left.get_vocab(), right.get_vocab()
    if len(tokens_left) != len(tokens_right):
        return f"their vocabularies have {len(tokens_left)} and {len(tokens_right)} tokens"
    if tokens_left != tokens_right:
        by_id_left = {index: token for token, index in tokens_left.items()}
        by_id_right = {index: token for token, index in tokens_right.items()}
        ids = sorted(by_id_left.keys() | by_id_right.keys())
        first = next(i for i in ids if by_id_left.get(i) != by_id_right.get(i))
        return f"token {first} is {by_id_left.get(first)!r} and {by_id_right.get(first)!r}"
    pairs = zip_longest(_merges(left), _merges(right))
    for number, (merge_left, merge_right) in enumerate(pairs):
        if merge_left != merge_right:
            return f"merge {number} is {merge_left!r} and {merge_right!r}"
    if left.eos_token_id != right.eos_token_id:
        return f"their EOS tokens are {left.eos_token!r} and {right.eos_token!r}"
    return None


def _merges(tokenizer: PreTrainedTokenizerFast) -> list[object]:
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("merges", [])
    return list(merges)
