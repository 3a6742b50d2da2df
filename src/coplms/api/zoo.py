"""The mini models that a configuration names: where they lie, built where they do not yet."""

from collections.abc import Callable
from pathlib import Path

from coplms.config.model import ZooConfig
from coplms.config.training import TrainingConfig
from coplms.data.text import DEMO, read_text
from coplms.models.load import resolve_device
from coplms.models.zoo import build_zoo, texts_digest, zoo_folder
from coplms.models.zoo_networks import check_recipe

ZooProgress = Callable[[str, int, int, float], None]
"""Gets a mini model's name, step, steps and loss."""


def zoo_folders(config: TrainingConfig, cache: Path) -> dict[str, Path]:
    """Where each mini model of the run lies in the cache, or will.

    Args:
        config: The run's.
        cache: The folder that holds `zoo/`.

    Raises:
        ConfigError: If a recipe gives no usable model.
        DataError: If a text to build on is missing or broken.
    """
    if config.zoo is None:
        return {}
    for model in config.zoo.models:
        check_recipe(model)
    digest = texts_digest(list(read_text(config.zoo.text or (DEMO,))))
    return {
        model.name: zoo_folder(config.zoo, model, digest, cache / "zoo")
        for model in config.zoo.models
    }


def ensure_zoo(
    config: TrainingConfig, cache: Path, on_progress: ZooProgress | None = None
) -> dict[str, Path]:
    """Folders of the mini models that the configuration names, trained where not cached."""
    if config.zoo is None:
        return {}
    return build_recipe(config.zoo, config.device, cache, on_progress)


def build_recipe(
    recipe: ZooConfig, device: str, cache: Path, on_progress: ZooProgress | None = None
) -> dict[str, Path]:
    """Folders of a recipe's models, trained where not cached."""
    texts = list(read_text(recipe.text or (DEMO,)))
    return build_zoo(recipe, texts, cache / "zoo", on_progress, resolve_device(device))
