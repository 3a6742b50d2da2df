"""`coplms generate`: asks a tuned model of a run."""

from typing import Annotated

import typer

from coplms.cli.console import begin_heavy_work, print_line
from coplms.cli.options import Model, RunFolder


def generate(
    run: RunFolder,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="A device of the run, or server.")
    ],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What the model is asked to do.")],
    input_text: Annotated[
        str, typer.Option("--input", metavar="TEXT", help="What to do it to.", show_default=False)
    ] = "",
    model: Model = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer.", show_default="the run's")
    ] = None,
) -> None:
    """Print the greedy answer of a tuned model of RUN (a run's folder) to one prompt."""
    begin_heavy_work()
    from coplms.api.ask import ask, load_tuned, read_run_config

    config = read_run_config(run)
    tuned = load_tuned(run, device, model)
    tokens = max_new_tokens or config.evaluation.max_new_tokens
    data = config.data
    print_line(ask(tuned, prompt, input_text, data.template, data.max_length, tokens))
