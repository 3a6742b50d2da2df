"""A finished run's folder -> its tuned models, ready to answer."""

import json
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, inject_adapter_in_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from coplms.api.assemble import MINI
from coplms.api.cache import default_cache
from coplms.api.output import PROXY_DOMAIN, PROXY_SHARED, adapter_folder, model_folder
from coplms.config.load import load_config
from coplms.config.method import WITH_PROXY
from coplms.config.model import ModelConfig
from coplms.config.run import RunConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.data.prompt import encode_prompt
from coplms.errors import ConfigError, ModelError, RunError
from coplms.evaluation.generate import generate_answers
from coplms.models.adapters import activate, active_adapters, adapter_parameters
from coplms.models.language_model import LanguageModel
from coplms.models.load import load_model, resolve_device

_WEIGHTS = "adapter_model.safetensors"


def read_run_config(run: Path) -> RunConfig:
    """The configuration of the run in a folder, as it was resolved.

    Raises:
        RunError: If the folder holds no run.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise RunError(f"{run}: holds no run: it has no config.yaml. Give the --output of a run.")
    return load_config(path)


def members_of(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Member -> the models it keeps, its own one first, then its copy of the DPM.

    A baseline's members keep one model each.
    """
    dpm = ("dpm",) if config.method.name == "coplms" else ()
    return {SERVER: ("llm", *dpm), **{device.name: ("slm", *dpm) for device in config.devices}}


def load_tuned(run: str | Path, member: str, model: str | None = None) -> LanguageModel:
    """A model as the run left it, with its adapters acting, in evaluation mode.

    Args:
        run: The folder of a finished run.
        member: `server` or a device's name.
        model: `llm` or `dpm` on the server, `slm` or `dpm` (with the device's domain adapter) on
            a device; absent: the member's own model.

    Raises:
        RunError: If the folder holds no run, or one that is not finished.
        ConfigError: If the run has no such member, or the member no such model.
        ModelError: If the model that was tuned cannot be loaded any more.
    """
    folder, config = Path(run), read_run_config(Path(run))
    members = members_of(config)
    if member not in members:
        raise ConfigError(f"'{member}' is no member of {run}. Members: {', '.join(members)}.")
    kind = model or members[member][0]
    if kind not in members[member]:
        known = " and ".join(members[member])
        raise ConfigError(f"'{member}' of {run} has no model '{kind}'. It has {known}.")
    if member in config.remote:
        raise RunError(
            f"{run}: the models of '{member}' are on its own machine, in the folder that "
            "`coplms device` keeps there. Ask for the server's llm or dpm here."
        )
    if kind == "dpm":
        return _load_proxy(folder, config, member)
    slms = {device.name: device.slm for device in config.devices}
    if config.method.name in WITH_PROXY:  # whose devices tune the DPM in place of their SLM
        proxy = ModelConfig(model=str(folder / "dpm"), tuning=config.dpm.tuning)
        slms = dict.fromkeys(slms, proxy)
    described = slms.get(member) or config.llm
    return _load_own(folder, config, member, kind, described)


def ask(
    model: LanguageModel,
    instruction: str,
    input_text: str,
    template: str,
    max_length: int,
    max_new_tokens: int,
) -> str:
    """The model's greedy answer.

    Args:
        model: Who is asked.
        instruction: What to do.
        input_text: What to do it to; may be empty.
        template: Prompt for tokenizers without a chat template.
        max_length: Tokens of prompt and answer together; a longer prompt loses its middle.
        max_new_tokens: Tokens of them that the answer may take.

    Raises:
        ConfigError: If no token is left for the prompt.
    """
    room = max_length - max_new_tokens
    if room < 1:
        raise ConfigError(
            f"an answer of up to {max_new_tokens} tokens leaves none of {max_length} for the "
            "prompt. Lower --max-new-tokens."
        )
    example = Example(instruction, input_text, (), "prompt", "prompt", "prompt")
    prompt = encode_prompt(model.tokenizer, example, template, room)
    return generate_answers(model, [prompt], max_new_tokens, batch_size=1)[0].text


def load_adapter(model: LanguageModel, adapter: str, folder: Path) -> None:
    """Adds the LoRA adapter of a PEFT folder to the model; it joins the active ones.

    Args:
        model: Gets the adapter in place.
        adapter: What to call it, without dots.
        folder: Holds adapter_config.json and adapter_model.safetensors.

    Raises:
        ModelError: If the folder is no PEFT folder, its adapter is no plain LoRA, or it was made
            for another model.
    """
    config = _adapter_config(folder)
    active = active_adapters(model)
    try:
        tensors = load_file(folder / _WEIGHTS)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            inject_adapter_in_model(config, model.network, adapter)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(_unfit(model, folder, str(error).splitlines()[0])) from error
    parameters = adapter_parameters(model, adapter)
    names = {f"base_model.model.{name}": name for name in parameters}
    if differing := sorted(names.keys() ^ tensors.keys()):
        raise ModelError(_unfit(model, folder, f"'{differing[0]}' is only on one side"))
    for key, name in names.items():
        parameter, tensor = parameters[name], tensors[key]
        if parameter.shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, the model's is {tuple(parameter.shape)}"
            raise ModelError(_unfit(model, folder, f"the shape of {name} is {shapes}"))
        parameter.data = tensor.to(parameter.device)
    activate(model, [*active, adapter])
    nn.Module.train(model.network, False)


def _load_own(
    run: Path, config: RunConfig, member: str, kind: str, described: ModelConfig
) -> LanguageModel:
    tuning, dtype = described.tuning or config.tuning, described.dtype or config.dtype
    if tuning.kind == "full":
        folder = _finished(run, model_folder(run, member, kind))
        return load_model(kind, str(folder), dtype, _device(config))
    folder = _finished(run, adapter_folder(run, member, kind))
    model = load_model(kind, _base(described.model, folder, run), dtype, _device(config))
    load_adapter(model, OWN, folder)
    return model


def _load_proxy(run: Path, config: RunConfig, member: str) -> LanguageModel:
    tuning = config.dpm.tuning or config.tuning
    if tuning.kind == "full":
        folder = _finished(run, model_folder(run, member, "dpm"))
        model = load_model("dpm", str(folder), config.dtype, _device(config))
    else:
        folder = _finished(run, adapter_folder(run, member, PROXY_SHARED))
        model = load_model("dpm", str(run / "dpm"), config.dtype, _device(config))
        load_adapter(model, SHARED, folder)
    if member != SERVER:
        load_adapter(model, DOMAIN, _finished(run, adapter_folder(run, member, PROXY_DOMAIN)))
    return model


def _finished(run: Path, folder: Path) -> Path:
    if not folder.is_dir():
        raise RunError(
            f"{run}: the run is not finished: {folder.relative_to(run)} is absent. "
            f"Run `coplms train` again with --output {run} to finish it."
        )
    return folder


def _device(config: RunConfig) -> torch.device:
    """The run's, or the CPU where this machine has no GPU."""
    return resolve_device(config.device if torch.cuda.is_available() else "cpu")


def _base(model: str, adapter: Path, run: Path) -> str:
    """Folder or hub name of the model that an adapter was trained on."""
    if not model.startswith(MINI):
        return model
    trained_on = Path(_adapter_config(adapter).base_model_name_or_path or "")
    for folder in (trained_on, default_cache() / "zoo" / trained_on.name):
        if folder.is_dir():
            return str(folder)
    raise RunError(
        f"{run}: the mini model {trained_on} that the run tuned is gone from the cache. "
        f"`coplms models build {run / 'config.yaml'}` makes it again."
    )


def _adapter_config(folder: Path) -> LoraConfig:
    form = f"Give a folder with adapter_config.json and {_WEIGHTS}, as PEFT saves a LoRA adapter."
    path = folder / "adapter_config.json"
    if not path.is_file() or not (folder / _WEIGHTS).is_file():
        raise ModelError(f"{folder}: is no adapter. {form}")
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}. {form}") from error
    if not isinstance(config, LoraConfig) or config.use_dora or config.modules_to_save:
        raise ModelError(
            f"{folder}: is an adapter, but no plain LoRA (it is {config.peft_type}, or has "
            "`use_dora` or `modules_to_save`). Merge it with PEFT's merge_and_unload and give the "
            "merged model."
        )
    return config


def _unfit(model: LanguageModel, folder: Path, reason: str) -> str:
    return (
        f"the adapter in {folder} does not fit the model at {model.path}: {reason}. "
        "Give the model that it was trained on."
    )
