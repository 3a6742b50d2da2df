"""`coplms models`: the mini models that a configuration describes."""

import typer

from coplms.cli.console import begin_heavy_work, print_line, resumable
from coplms.cli.options import ConfigPath, DataRoot, use_data_root

app = typer.Typer(help="Mini models, trained from scratch on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `build` a subcommand although it is the only one."""


@app.command()
def build(config: ConfigPath, data_root: DataRoot = None) -> None:
    """Train the models of CONFIG's `zoo:` section that are not cached, and print the folders."""
    from coplms.cli.progress import watch
    from coplms.config.load import load_config

    use_data_root(data_root)
    loaded = load_config(config)
    with resumable():
        begin_heavy_work()
        from coplms.api.consortium import Consortium

        with watch(loaded.name, {}) as progress:
            folders = Consortium(loaded).build_models(progress.zoo_logged)
    for name, folder in folders.items():
        print_line(f"mini/{name}  {folder}")
    if not folders:
        print_line(f"{config} has no `zoo:` section: there is nothing to build")
