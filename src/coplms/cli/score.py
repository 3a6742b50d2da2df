"""`coplms score`: the official metrics of a file of predictions."""

import json
from pathlib import Path
from typing import Annotated

import typer

from coplms.cli.console import print_line


def score(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON lines of Super-NaturalInstructions: Task, Instance, prediction.",
        ),
    ],
) -> None:
    """Print the scores of the predictions in FILE as JSON, in percent.

    Each line is an object of Super-NaturalInstructions: Task, Instance, prediction.
    """
    from coplms.evaluation.score import read_predictions
    from coplms.evaluation.score import score as score_predictions

    result = score_predictions(read_predictions(file))
    print_line(json.dumps(result, ensure_ascii=False, indent=2))
