"""Predictions -> Rouge-L and exact match, exactly as Super-NaturalInstructions scores them.

    python examples/score_predictions.py predictions.jsonl

Each line of the file is an object such as
`{"Task": "t", "Instance": {"input": "..", "output": [".."]}, "prediction": ".."}`.
Without a file, three predictions are scored that show what counts.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from coplms.evaluation.score import Prediction, read_predictions, score

SAMPLES = (
    # Case, punctuation and spaces do not count for exact match.
    Prediction("capitals", "Capital of Portugal?", ("Lisbon",), "lisbon."),
    # The reference that fits best counts, here the second.
    Prediction("colours", "Colour of grass?", ("A shade of green", "green"), "Green"),
    # Rouge-L rewards words in the right order.
    Prediction("colours", "Colour of the sky?", ("blue, as a rule",), "as a rule grey"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    predictions = read_predictions(options.file) if options.file else SAMPLES
    print(json.dumps(score(predictions), indent=2))


if __name__ == "__main__":
    main()
