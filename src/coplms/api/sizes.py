"""The sizes that a configuration gives of a hub model -> the network that they describe."""

from collections.abc import Mapping
from typing import cast

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import JsonValue
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from coplms.config.explain import closest
from coplms.errors import ConfigError

_REFUSALS = (
    StrictDataclassError,
    TypeError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    LookupError,
)
"""What transformers and PyTorch raise at sizes that make no network."""


def network_of(name: str, sizes: Mapping[str, JsonValue], dtype: torch.dtype) -> PreTrainedModel:
    """The untrained network; on PyTorch's meta device, if that is the default, it costs nothing.

    Args:
        name: The model's: `llm`, `dpm` or `NAME/slm`.
        sizes: Its `model_type`, and other keys of its config.json.
        dtype: Of its weights.

    Raises:
        ConfigError: If transformers knows no such kind of model, the kind no such key, or no
            network comes out.
    """
    kind, values = str(sizes["model_type"]), dict(sizes)
    del values["model_type"]
    where = f"the sizes of '{name}'"
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"{where}: model_type is '{kind}', which is no causal language model that this version "
            f"of transformers knows. {closest(kind, _SHOWN_KINDS)} Take it from the model's "
            "config.json."
        )
    _check_keys(where, kind, values)
    try:
        config = AutoConfig.for_model(kind, **values)
        if config.get_text_config().num_hidden_layers < 1:
            raise ValueError("it has no layers")
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    except _REFUSALS as error:
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        raise ConfigError(
            f"{where} ({shown}) make no {kind}: {_reason(error)} Take them from the model's "
            "config.json."
        ) from error
    return cast("PreTrainedModel", network)


def _check_keys(where: str, kind: str, values: Mapping[str, JsonValue]) -> None:
    own = {*CONFIG_MAPPING[kind]().to_dict(), *CONFIG_MAPPING[kind].attribute_map}
    general = {*PreTrainedConfig().to_dict()}
    for key in values:
        if key not in own:
            known = sorted(own - general | {"tie_word_embeddings"})
            raise ConfigError(f"{where}: {key} is unknown to {kind}. {closest(key, known)}")


_SHOWN_KINDS = ["bloom", "gemma2", "gpt2", "gpt_neox", "llama", "mistral", "phi3", "qwen2", "qwen3"]
"""Named where another kind is not known; there are hundreds."""


def _reason(error: Exception) -> str:
    """The last line of what went wrong, as a sentence."""
    text = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
    return text if text.endswith(".") else f"{text}."
