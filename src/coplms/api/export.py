"""A finished run -> ordinary Hugging Face folders that need nothing of coplms."""

from collections.abc import Sequence
from pathlib import Path

from coplms.api.ask import load_tuned, members_of, read_run_config
from coplms.api.output import save_whole
from coplms.errors import ConfigError, RunError
from coplms.models.adapters import active_adapters, merged_copy


def export_models(
    run: str | Path, output: str | Path, members: Sequence[str] = ()
) -> dict[str, Path]:
    """`MEMBER/MODEL` -> the folder that was written for it, under `output`.

    Adapters are added to the weights: the LLM and the SLMs have what they learned, a device's DPM
    the shared part and its domain adapter. `AutoModelForCausalLM.from_pretrained` loads each.

    Args:
        run: The folder of a finished run.
        output: Made if absent; nothing in it is overwritten.
        members: `server` or devices' names; empty takes all.

    Raises:
        RunError: If the folder holds no run or one that is not finished, or a folder to be
            written exists.
        ConfigError: If the run has no such member.
        ModelError: If a model that was tuned cannot be loaded any more.
    """
    run, output = Path(run), Path(output)
    known = members_of(read_run_config(run))
    for member in members:
        if member not in known:
            raise ConfigError(f"'{member}' is no member of {run}. Members: {', '.join(known)}.")
    wanted = [(member, kind) for member in members or known for kind in known[member]]
    targets = {f"{member}/{kind}": output / member / kind for member, kind in wanted}
    for target in targets.values():
        if target.exists():
            raise RunError(f"{target} exists already. Remove it, or give another --output.")
    for (member, kind), target in zip(wanted, targets.values(), strict=True):
        model = load_tuned(run, member, kind)
        save_whole(target, merged_copy(model, active_adapters(model)), model.tokenizer)
    return targets
