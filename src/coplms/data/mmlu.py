"""MMLU's CSV files (Hendrycks et al. 2021, arXiv:2009.03300): one subject each, without a header.

Columns: question, A, B, C, D, letter of the right answer.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.files import find_files
from coplms.errors import DataError

LETTERS = ("A", "B", "C", "D")
_SPLITS = ("_dev", "_val", "_test", "_train")


def read(source: SourceConfig) -> Iterator[Example]:
    """Examples of all CSV files at `source.path`; the domain is the subject.

    Raises:
        DataError: If a file is missing or a row is not a question; names file and line.
    """
    for path in find_files(source.path, (".csv",)):
        for origin, row in _rows(path):
            yield to_example(row[0], row[1:5], row[5].strip(), subject(path), origin)


def subject(path: Path) -> str:
    """Subject in the file's name.

    >>> subject(Path("test/high_school_biology_test.csv"))
    'high_school_biology'
    """
    for split in _SPLITS:
        if path.stem.endswith(split):
            return path.stem.removesuffix(split)
    return path.stem


def to_example(
    question: str, choices: Sequence[str], letter: str, subject: str, origin: str
) -> Example:
    """Example of one question with four choices; its answer is the letter."""
    options = "\n".join(
        f"{name}. {choice.strip()}" for name, choice in zip(LETTERS, choices, strict=True)
    )
    return Example(
        instruction=(
            f"The following is a multiple choice question about {subject.replace('_', ' ')}. "
            f"Answer with A, B, C or D."
        ),
        input=f"{question.strip()}\n{options}",
        references=(letter,),
        domain=subject,
        task=subject,
        origin=origin,
    )


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    yield f"{path}:{line}", _checked(row, f"{path}:{line}")
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}:{line}: not valid CSV ({error}). Correct the quotes.") from error


def _checked(row: list[str], origin: str) -> list[str]:
    if len(row) != 6:
        raise DataError(
            f"{origin}: {len(row)} columns where 6 belong: question, A, B, C, D, answer letter. "
            f"Quote texts that hold commas."
        )
    if row[5].strip() not in LETTERS:
        raise DataError(
            f"{origin}: the answer is '{row[5]}'; it must be A, B, C or D. MMLU files have no "
            f"header, and letters rather than numbers."
        )
    return row
