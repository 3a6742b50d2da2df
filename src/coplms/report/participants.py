"""Who took part in a run: models, how they were tuned, who held how much data."""

from collections.abc import Mapping
from dataclasses import dataclass

from coplms.consortium.record import Json, RunHistory
from coplms.report.tables import model_label, number, own_domains, section


@dataclass(frozen=True)
class Participant:
    """One model of the consortium; texts are empty and counts None where nothing was recorded.

    Attributes:
        label: `hospital SLM`.
        source: Folder, hub name or `mini/NAME`.
        architecture: Hugging Face model type and tokenizer, known for mini models.
        tuning: What was trained: `LoRA, rank 16` or `all weights`.
        num_examples: Split (`train`, `dev`, `test`) to the member's examples; None for the DPM.
        domains: What a device trains on.
    """

    label: str
    source: str
    architecture: str
    tuning: str
    num_examples: dict[str, int] | None
    domains: list[str]


def participants(history: RunHistory) -> list[Participant]:
    """The server's LLM, the DPM, then every device's SLM."""
    config = history.config
    found = [_participant(history, "server", "llm", section(config, "llm")), _dpm(config)]
    for device in config.get("devices") or ():
        if isinstance(device, dict):
            name = str(device.get("name"))
            found.append(_participant(history, name, "slm", section(device, "slm")))
    return found


def _participant(history: RunHistory, member: str, model: str, spec: Json) -> Participant:
    source = str(spec.get("model") or "")
    return Participant(
        label=model_label(member, model),
        source=source,
        architecture=_architecture(history.config, source),
        tuning=_tuning(section(spec, "tuning") or section(history.config, "tuning")),
        num_examples=_num_examples(history, member),
        domains=own_domains(history, member),
    )


def _dpm(config: Json) -> Participant:
    spec = section(config, "dpm")
    source = str(spec.get("model") or "")
    if not source:
        layers = number(spec.get("layers"))
        kept = "half of its layers" if layers is None else f"{layers:.0f} of its layers"
        source = f"the LLM with {kept}"
    shared = _tuning(section(spec, "tuning") or section(config, "tuning"))
    rank = number(spec.get("domain_rank"))
    private = "" if rank is None else f"; domain adapter, rank {rank:.0f}"
    return Participant(
        label="shared DPM",
        source=source,
        architecture=_architecture(config, source),
        tuning=f"{shared}{private}" if shared else "",
        num_examples=None,
        domains=[],
    )


def _architecture(config: Json, source: str) -> str:
    models = section(config, "zoo").get("models")
    for recipe in models if isinstance(models, list) else ():
        if isinstance(recipe, dict) and source == f"mini/{recipe.get('name')}":
            size = f"{recipe.get('layers')} layers of {recipe.get('hidden_size')}"
            return f"{recipe.get('architecture')}, {size}, {recipe.get('tokenizer')} tokenizer"
    return ""


def _tuning(tuning: Mapping[str, object]) -> str:
    kind = tuning.get("kind")
    if kind == "lora":
        rank = number(tuning.get("rank"))
        return "LoRA" if rank is None else f"LoRA, rank {rank:.0f}"
    return "all weights" if kind == "full" else str(kind or "")


def _num_examples(history: RunHistory, member: str) -> dict[str, int]:
    data = history.data
    held = (
        section(data, "server") if member == "server" else section(section(data, "devices"), member)
    )
    counts = {split: number(held.get(split)) for split in ("train", "dev", "test")}
    return {split: int(count) for split, count in counts.items() if count is not None}
