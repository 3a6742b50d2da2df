"""`coplms train`: one run, from its configuration to its report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coplms.cli.console import begin_heavy_work, resumable
from coplms.cli.options import ConfigPath, DataRoot, Settings, use_data_root

if TYPE_CHECKING:
    from coplms.config.run import RunConfig


def train(
    config: ConfigPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The run's folder; a run that was stopped goes on there.",
            show_default="runs/ and the configuration's name",
        ),
    ] = None,
    settings: Settings = None,
    seed: Annotated[
        int | None, typer.Option(help="The run's seed.", show_default="the configuration's")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="How models are tuned: coplms, or a baseline (docs/baselines.md).",
            show_default="the configuration's",
        ),
    ] = None,
    data_root: DataRoot = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and train nothing.")
    ] = False,
) -> None:
    """Tune the consortium that CONFIG (a YAML file) describes, or go on with a stopped run.

    Every model is tuned alone too, to see what co-tuning bought.
    """
    from coplms.config.load import load_config

    use_data_root(data_root)
    overrides = [*(settings or ()), *([] if seed is None else [f"seed={seed}"])]
    overrides += [] if method is None else [f"method.name={method}"]
    loaded = load_config(config, overrides)
    folder = output or Path("runs") / (config.stem if method is None else f"{config.stem}-{method}")
    if dry_run:
        check(loaded, folder)
    else:
        run(loaded, folder)


def run(config: "RunConfig", output: Path) -> None:
    """Train with progress, then show what co-tuning bought and where the report is."""
    from coplms.api.schedule import plan
    from coplms.cli.progress import watch
    from coplms.cli.results import print_results

    with resumable():
        begin_heavy_work()
        from coplms.api.consortium import Consortium

        with watch(config.name, plan(config)) as progress:
            folder = Consortium(config).train(output, progress, progress.zoo_logged)
        print_results(folder)


def check(config: "RunConfig", output: Path) -> None:
    """Print what a run would find, without training."""
    from coplms.cli.check import print_check

    begin_heavy_work()
    from coplms.api.cache import default_cache
    from coplms.api.folder import check_folder
    from coplms.api.refuse import refuse_remote

    refuse_remote(config)
    check_folder(output, config)
    print_check(config, default_cache(), output)
