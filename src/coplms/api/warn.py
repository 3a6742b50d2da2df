"""What in a run may be meant otherwise, though it would go through."""

from collections.abc import Iterator, Sequence

from coplms.api.facts import DataCheck, ModelCheck
from coplms.api.memory import MemoryCheck
from coplms.api.pairs import PairCheck
from coplms.api.reading import Reading
from coplms.api.volume import DiskCheck
from coplms.config.run import RunConfig
from coplms.consortium.messages import SERVER
from coplms.report.costs import size_text

FEW_CLASSES = 100
FEW_EXAMPLES = 50
MANY_CUT = 0.05
TIGHT_DISK = 0.8
_SHOWN = 5


def warn_hub(
    config: RunConfig, silence: str, models: Sequence[ModelCheck], missing: Sequence[str]
) -> Iterator[str]:
    """What was assumed of models and data that are not to be had.

    Args:
        config: The run's.
        silence: Why nothing is heard of the hub.
        models: Of the run.
        missing: Names of data sets.
    """
    absent = f"not on this machine, and {silence}"
    unseen = [model.name for model in models if model.state == "written"]
    if unseen:
        yield (
            f"{', '.join(unseen[:_SHOWN])}: {absent}. Sizes are those that the configuration "
            "gives; nothing is known of tokenizers."
        )
    yield from _more(unseen, "models are known by their sizes only")
    if missing:
        yield (
            f"data: {', '.join(missing)}: {absent}. Numbers of examples are those of data.pool, "
            "divided evenly among the devices; every example is taken to be as long as it may be "
            f"(data.max_length: {config.data.max_length:,} tokens, answers "
            f"evaluation.max_new_tokens: {config.evaluation.max_new_tokens:,})."
        )


def warn_models(models: Sequence[ModelCheck]) -> Iterator[str]:
    """Weights that are not on this machine yet, and sizes that were written down wrong."""
    for model in models:
        if model.num_written not in (None, model.num_parameters):
            yield (
                f"{model.name}: '{model.source}' has {model.num_parameters:,} parameters, and by "
                f"its `sizes` it would have {model.num_written:,}; the model itself counts."
            )
        if model.state == "download" and model.name != "dpm":
            yield (
                f"{model.name}: the weights of '{model.source}' are not on this machine; training "
                "starts with their download."
            )


def warn_pairs(pairs: Sequence[PairCheck]) -> Iterator[str]:
    """Tokenizers that hardly understand each other."""
    few = [pair for pair in pairs if pair.num_classes < FEW_CLASSES]
    for pair in few[:_SHOWN]:
        yield (
            f"{pair.member}: DPM and SLM share only {pair.num_classes} classes of tokens, so "
            "mutual learning tells them little. An SLM whose tokenizer is made for the same "
            "languages as the LLM's would share more."
        )
    yield from _more(few, "devices share as few classes")


def warn_data(data: Sequence[DataCheck], readings: Sequence[Reading]) -> Iterator[str]:
    """Devices with little text, and prompts that lose much of theirs."""
    few = [held for held in data if held.member != SERVER and held.train < FEW_EXAMPLES]
    for held in few[:_SHOWN]:
        yield (
            f"{held.member}: only {held.train} examples to train on; its models will see each "
            "of them many times."
        )
    yield from _more(few, f"devices have fewer than {FEW_EXAMPLES} examples")
    cut = [each for each in readings if each.num_cut > MANY_CUT * each.num_examples]
    for reading in cut[:_SHOWN]:
        yield (
            f"{reading.reader} cuts {reading.num_cut} of {reading.num_examples} prompts of "
            f"{reading.member}: they lose their middle. Raise data.max_length to keep them "
            "whole."
        )
    yield from _more(cut, "members' prompts lose their middle")


def _more(found: Sequence[object], what: str) -> Iterator[str]:
    """What is not said one by one."""
    if len(found) > _SHOWN:
        yield f"{len(found) - _SHOWN:,} more {what}."


def warn_disk(disk: DiskCheck) -> Iterator[str]:
    """A disk that the run would nearly fill."""
    if TIGHT_DISK * disk.free < disk.needed <= disk.free:
        yield (
            f"disk: the run needs {size_text(disk.needed)} of the {size_text(disk.free)} that "
            "are left."
        )


def warn_memory(memory: MemoryCheck) -> Iterator[str]:
    """A run that may not fit into memory."""
    if memory.peak > memory.available:
        yield (
            f"memory: the run may need {size_text(memory.peak)} on {memory.device}, and "
            f"{size_text(memory.available)} are available. Raise optimizer.accumulation, set "
            "compute.gradient_checkpointing to true, take `tuning: {kind: lora}` or smaller models."
        )
