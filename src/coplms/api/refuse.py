"""What would fail in the middle of a run, refused before it trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from coplms.api.pairs import count_classes
from coplms.api.plan import ModelPlan, plan_models
from coplms.api.reading import Misfit, find_misfits, misfit_error, readers, trained_on
from coplms.api.volume import check_disk, disk_error
from coplms.config.run import RunConfig
from coplms.consortium.messages import SERVER
from coplms.data.members import ConsortiumData
from coplms.data.text import DEMO, read_text
from coplms.errors import ConfigError, DataError
from coplms.evaluation.evaluate import _SHORTEST_PROMPT
from coplms.training.encoding import Encoder


def check_before_training(
    config: RunConfig, data: ConsortiumData, zoo: Mapping[str, Path], cache: Path, output: Path
) -> None:
    """Refuses a run that would fail later; writes class maps to the cache, and nothing else.

    Args:
        config: The run's.
        data: Who holds what.
        zoo: Where each mini model lies, or will: what needs the tokenizer of one that is still to
            be built is left out.
        cache: Folder of class maps.
        output: The run's folder; need not exist.

    Raises:
        ConfigError: If a setting does not fit its model.
        DataError: If an answer does not fit the context, or a text to distil on is broken.
        ModelError: If a model cannot be loaded, or the DPM does not have the LLM's tokenizer.
        AlignmentError: If the DPM and an SLM have no token in common.
        RunError: If the disk is too small.
    """
    check_settings(config)
    plans = plan_models(config, zoo)
    encoders = member_encoders(config, plans)
    misfits: dict[str, list[Misfit]] = {}
    for encoder, sources in readers(encoders, data):
        examples = [e for held in sources.values() for e in trained_on(held)]
        misfits[encoder.model.name] = [*find_misfits(encoder, examples)]
    misfit = misfit_refusal(misfits, config.data.max_length)
    if misfit is not None:
        raise misfit
    shortage = disk_error(check_disk(config, plans, output), output)
    if shortage is not None:
        raise shortage
    others = {id(encoder): encoder for name, encoder in encoders.items() if name != SERVER}
    for encoder in others.values() if SERVER in encoders else ():
        count_classes(encoders[SERVER].model, encoder.model, cache)


def refuse_baseline(config: RunConfig) -> None:
    """Refuses to run a baseline over a network.

    Raises:
        ConfigError: If the method is one.
    """
    if config.method.name != "coplms":
        raise ConfigError(
            f"method.name: '{config.method.name}' is a baseline, which is only simulated. Run it "
            "with coplms train, or take coplms over the network."
        )


def refuse_remote(config: RunConfig) -> None:
    """Refuses to simulate devices that are described elsewhere.

    Raises:
        ConfigError: If a device has no model here.
    """
    if config.remote:
        raise ConfigError(
            f"devices: '{config.remote[0]}' has no `slm`: it runs on a machine of its own. Use "
            "`coplms server`, or describe its model and data here."
        )


def check_settings(config: RunConfig) -> None:
    """Refuses settings that no model or data can make good.

    Raises:
        ConfigError: If answers leave no room for prompts.
        DataError: If a text to distil on is missing or broken.
    """
    room = config.data.max_length - config.evaluation.max_new_tokens
    if room < _SHORTEST_PROMPT:
        raise ConfigError(
            f"data.max_length {config.data.max_length} less evaluation.max_new_tokens "
            f"{config.evaluation.max_new_tokens} leaves {room} tokens for prompts, and at least "
            f"{_SHORTEST_PROMPT} are needed. Raise the first, or lower the second."
        )
    texts = [path for path in config.method.distill.text if path != DEMO]
    for _ in read_text(texts):
        pass


def member_encoders(config: RunConfig, plans: Sequence[ModelPlan]) -> dict[str, Encoder]:
    """Member -> encoder of its LLM or SLM; without models that are still to be built."""
    known = [plan for plan in plans if plan.role != "dpm" and plan.outline.can_encode]
    data = config.data
    models = {id(plan.outline): plan.outline.model for plan in known}
    encoders = {key: Encoder(each, data.template, data.max_length) for key, each in models.items()}
    return {plan.member: encoders[id(plan.outline)] for plan in known}


def misfit_refusal(misfits: Mapping[str, Sequence[Misfit]], max_length: int) -> DataError | None:
    """The error for the reader that needs the longest context, if any answer does not fit."""
    worst = {name: max(m.num_tokens for m in found) for name, found in misfits.items() if found}
    if not worst:
        return None
    reader = max(worst, key=worst.__getitem__)
    return misfit_error(reader, misfits[reader], max_length)
