"""A whole consortium in ten lines: one LLM, three devices with different SLMs, their scores.

    python examples/quickstart.py --output runs/quickstart

Everything is made on this machine: the text is generated and the models are trained from scratch
(once; they are kept for the next run). Start it again after an interruption and it goes on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from coplms import Consortium
from coplms.consortium.record import read_history

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--output", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--set", action="append", default=[], help="such as method.rounds=1")
    options = parser.parse_args(arguments)

    consortium = Consortium.from_yaml(options.config, tuple(options.set))
    run = consortium.train(options.output)

    for row in read_history(run).evaluations:
        if row["scope"] == "all":  # on the test examples of all domains
            who = f"{row['member']} {row['model']}"
            print(f"{row['when']:8} {who:16} {row['exact_match']:5.1f} % exact match")


if __name__ == "__main__":
    main()
