"""A device's own model, looked at before anybody waits for it."""

from coplms.api.assemble import MINI
from coplms.config.edge import EdgeConfig
from coplms.errors import ConfigError
from coplms.models.load import check_path, load_model, resolve_device


def check_slm(config: EdgeConfig) -> None:
    """Refuse a model that cannot be there; it is not read.

    Raises:
        ConfigError: If it is a mini model without a recipe.
        ModelError: If there is no such folder, or this machine has no such device.
    """
    name = config.slm.model
    resolve_device(config.slm.device or config.device)
    if not name.startswith(MINI):
        check_path("slm", name)
        return
    known = [MINI + recipe.name for recipe in config.zoo.models] if config.zoo else []
    if name not in known:
        raise ConfigError(
            f"slm.model is '{name}', which is not a mini model of the `zoo:` section. Known: "
            f"{', '.join(known) or 'none'}. For other models write a folder or a hub name such as "
            "'organisation/name'."
        )


def describe_slm(config: EdgeConfig) -> str:
    """What the model is, once it was loaded; a mini model is not built for this.

    Raises:
        ModelError: If it cannot be loaded.
    """
    name = config.slm.model
    if name.startswith(MINI):
        return f"model {name}: built from its recipe when the first run begins"
    place = resolve_device(config.slm.device or config.device)
    model = load_model("slm", name, config.slm.dtype or "float32", place)
    kind = model.network.config.model_type
    return f"model {name}: {kind}, {model.network.num_parameters():,} parameters, on {place}"
