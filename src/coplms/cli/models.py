"""`coplms models`: mini models, trained from scratch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coplms.cli.console import begin_heavy_work, print_line, resumable
from coplms.cli.options import DataRoot, use_data_root
from coplms.errors import ConfigError

if TYPE_CHECKING:
    from coplms.config.model import ZooConfig

app = typer.Typer(help="Mini models, trained from scratch on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `build` a subcommand although it is the only one."""


@app.command()
def build(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A YAML configuration.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A shipped recipe in place of CONFIG: bench (two cores), bench-large (a GPU).",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Train the models of CONFIG's `zoo:` section that are not cached, and print the folders."""
    from coplms.cli.progress import watch

    use_data_root(data_root)
    recipe, device, name = _recipe(config, preset)
    if recipe is None:
        print_line(f"{config} has no `zoo:` section: there is nothing to build")
        return
    with resumable():
        begin_heavy_work()
        from coplms.api.cache import default_cache
        from coplms.api.zoo import build_recipe

        with watch(name, {}) as progress:
            folders = build_recipe(recipe, device, default_cache(), progress.zoo_logged)
    for model, folder in folders.items():
        print_line(f"mini/{model}  {folder}")


def _recipe(config: Path | None, preset: str | None) -> "tuple[ZooConfig | None, str, str]":
    """The recipe, where its models are trained, and what it is called."""
    from coplms.config.load import load_config
    from coplms.config.model import PRESETS, ZooConfig

    if (config is None) == (preset is None):
        raise ConfigError("give either CONFIG or --preset: coplms models build --preset bench")
    if config is not None:
        loaded = load_config(config)
        return loaded.zoo, loaded.device, loaded.name
    if preset not in PRESETS:
        raise ConfigError(f"--preset {preset}: is unknown. Known: {', '.join(PRESETS)}")
    return ZooConfig.model_validate({"preset": preset}), "auto", str(preset)
