"""Everything about a run that can be known before it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coplms.api.assemble import run_devices
from coplms.api.duration import TimeCheck, estimate_time
from coplms.api.facts import DataCheck, ModelCheck, data_checks, model_checks
from coplms.api.folder import check_folder
from coplms.api.hub import Hub
from coplms.api.memory import MemoryCheck, estimate_memory
from coplms.api.pairs import PairCheck, check_pair, check_same_pair
from coplms.api.plan import ModelPlan, PartPlan, plan_models
from coplms.api.reading import (
    Lengths,
    Misfit,
    Reading,
    lengths_of,
    read_member,
    readers,
    trained_on,
)
from coplms.api.refuse import check_settings, member_encoders, misfit_refusal
from coplms.api.stand_ins import missing_sources, stand_ins
from coplms.api.volume import DiskCheck, Traffic, check_disk, disk_error, estimate_traffic
from coplms.api.warn import (
    warn_data,
    warn_disk,
    warn_hub,
    warn_memory,
    warn_models,
    warn_pairs,
)
from coplms.api.zoo import zoo_folders
from coplms.config.run import RunConfig
from coplms.consortium.messages import SERVER
from coplms.data.members import ConsortiumData, load_data
from coplms.errors import CoplmsError
from coplms.training.encoding import Encoder


@dataclass(frozen=True)
class RunCheck:
    """What a run would load, read, need and send.

    Attributes:
        models: Each model once.
        pairs: DPM and SLM of each device; absent where one is still to be built.
        data: By member.
        num_transfer: Inputs of the transfer set.
        readings: Every tokenizer's view of what it reads; absent where either is not at hand.
        parts: What is trained, with its steps.
        distill_steps: Steps of the whole DPM before round 1.
        alone_steps: Steps of models that are also tuned alone, all of them together.
        disk: Room for the run's folder.
        memory: An estimate.
        traffic: Bytes over the wire.
        time: An estimate.
        device: Where models run, `cuda:0, cuda:1` where they lie on several devices.
        needs_hub: Whether models or data were not to be had, and what the configuration says of
            them was taken instead.
        warnings: What may be meant otherwise; none stops the run.
        refusal: The error that the run would end with before it trains.
    """

    models: tuple[ModelCheck, ...]
    pairs: tuple[PairCheck, ...]
    data: tuple[DataCheck, ...]
    num_transfer: int
    readings: tuple[Reading, ...]
    parts: tuple[PartPlan, ...]
    distill_steps: int
    alone_steps: int
    disk: DiskCheck
    memory: MemoryCheck
    traffic: Traffic
    time: TimeCheck
    device: str
    needs_hub: bool
    warnings: tuple[str, ...]
    refusal: CoplmsError | None


NEW_RUN = Path("runs") / "new-run"
"""Where a run would be written if nobody says where."""


def check_run(
    config: RunConfig, cache: Path, output: Path = NEW_RUN, hub: Hub | None = None
) -> RunCheck:
    """What the run would be; nothing is trained or built, and only class maps are written.

    Args:
        config: The run's.
        cache: Where mini models and class maps are kept.
        output: The run's folder; need not exist.
        hub: Where models and data are downloaded from; absent: the usual one.

    Raises:
        CoplmsError: If data or models cannot be read at all, or another run lies in `output`.
            What can be read but not trained on is the result's `refusal`.
    """
    check_folder(output, config)
    check_settings(config)
    devices = run_devices(config)
    hub = hub or Hub()
    missing = missing_sources(config, hub)
    data = stand_ins(config, missing[0], hub.silence) if missing else load_data(config)
    plans = plan_models(config, zoo_folders(config, cache), hub)
    encoders = {} if missing else member_encoders(config, plans)
    readings = _readings(encoders, data)
    pairs = _pairs(encoders, data, cache / "classes") if config.method.name == "coplms" else []
    lengths = _lengths(config, plans, readings)
    memory = estimate_memory(config, plans, lengths)
    disk = check_disk(config, plans, output)
    models, held = model_checks(plans), data_checks(data)
    own_steps = [plan.parts[0].steps for plan in plans if plan.role != "dpm"]
    warnings = (
        *warn_hub(config, hub.silence, models, missing),
        *warn_models(models),
        *warn_pairs(pairs),
        *warn_data(held, readings),
        *warn_disk(disk),
        *warn_memory(memory),
    )
    return RunCheck(
        models=tuple(models),
        pairs=tuple(pairs),
        data=tuple(held),
        num_transfer=len(data.transfer),
        readings=tuple(readings),
        parts=tuple(part for plan in plans for part in plan.parts),
        distill_steps=config.method.distill.steps if config.method.has_proxy else 0,
        alone_steps=sum(own_steps) if config.alone and config.method.name == "coplms" else 0,
        disk=disk,
        memory=memory,
        traffic=estimate_traffic(config, plans, data, lengths),
        time=estimate_time(config, plans, data, lengths),
        device=", ".join(map(str, devices)),
        needs_hub=bool(missing) or any(model.state == "written" for model in models),
        warnings=warnings,
        refusal=_refusal(config, readings, disk, output),
    )


def _readings(encoders: Mapping[str, Encoder], data: ConsortiumData) -> list[Reading]:
    return [
        read_member(encoder, name, trained_on(held))
        for encoder, sources in readers(encoders, data)
        for name, held in sources.items()
    ]


def _pairs(encoders: Mapping[str, Encoder], data: ConsortiumData, cache: Path) -> list[PairCheck]:
    """The DPM, whose tokenizer is the LLM's, with every SLM that exists."""
    if SERVER not in encoders:
        return []
    dpm = encoders[SERVER]
    known: dict[int, PairCheck] = {}
    found = []
    for name, held in data.devices.items():
        if name not in encoders:
            continue
        slm = encoders[name]
        if id(slm) in known:
            found.append(check_same_pair(known[id(slm)], name, (dpm, slm), held.train))
        else:
            known[id(slm)] = check_pair((name, "slm"), dpm, slm, held.train, cache)
            found.append(known[id(slm)])
    return found


def _lengths(
    config: RunConfig, plans: Sequence[ModelPlan], readings: Sequence[Reading]
) -> dict[str, Lengths]:
    """Of each member's own model, as measured; the longest possible where it cannot be."""
    by_reader: dict[str, list[Reading]] = {}
    for found in readings:
        by_reader.setdefault(found.reader, []).append(found)
    measured = {reader: lengths_of(found) for reader, found in by_reader.items()}
    example, answer = config.data.max_length, config.evaluation.max_new_tokens
    unknown = Lengths(example, answer, example, answer)
    readers = {plan.member: plan.outline.model.name for plan in plans if plan.role != "dpm"}
    # A device that tunes the DPM in place of an SLM reads as the LLM does.
    readers = {plan.member: readers.get(plan.member, "llm") for plan in plans}
    return {member: measured.get(reader) or unknown for member, reader in readers.items()}


def _refusal(
    config: RunConfig, readings: Sequence[Reading], disk: DiskCheck, output: Path
) -> CoplmsError | None:
    misfits: dict[str, list[Misfit]] = {}
    for reading in readings:
        misfits.setdefault(reading.reader, []).extend(reading.misfits)
    return misfit_refusal(misfits, config.data.max_length) or disk_error(disk, output)
