"""JSON Lines, plain or gzipped: one example per line.

Keys: `instruction`, `input` (at least one of them), `output` (a string) or `references` (a list of
strings, the first is trained on), `domain` (else the file's name), `task` (else the domain).
Other keys are ignored.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.files import find_files
from coplms.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz")


def read(source: SourceConfig, require_answer: bool = True) -> Iterator[Example]:
    """Examples of all files of `source.path`, in order.

    Args:
        source: Its `path` is a file, a folder or a pattern.
        require_answer: Whether a line without `output` and `references` is an error.

    Raises:
        DataError: If a file is missing or a line is not an example; names file and line.
    """
    for path in find_files(source.path, SUFFIXES):
        for origin, record in read_objects(path):
            yield to_example(
                record, origin, default_domain=stem(path), require_answer=require_answer
            )


def stem(path: Path) -> str:
    """File name without `.jsonl` or `.jsonl.gz`.

    >>> stem(Path("data/legal.jsonl.gz"))
    'legal'
    """
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """`file:line` and the JSON object of every line that is not blank.

    Raises:
        DataError: If the file is not UTF-8 text or a line is not a JSON object.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", _parse(line, f"{path}:{number}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip file ({error}). Write or fetch it again.") from error


def _parse(line: bytes, origin: str) -> dict[str, object]:
    try:
        record: object = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{origin}: not UTF-8 text ({error}). Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{origin}: not valid JSON ({error}). Each line must hold one JSON object, such as "
            f'{{"input": "...", "output": "..."}}.'
        ) from error
    if not isinstance(record, dict):
        raise DataError(
            f"{origin}: {_kind(record)} where a JSON object belongs, such as "
            f'{{"input": "...", "output": "..."}}.'
        )
    return record


def to_example(
    record: Mapping[str, object], origin: str, default_domain: str, require_answer: bool = True
) -> Example:
    """Example of one record.

    Args:
        record: Keys and values as in the module's description; None counts as absent.
        origin: Where it stands, for messages.
        default_domain: Domain of a record that names none.
        require_answer: Whether a record without an answer is an error.

    Raises:
        DataError: If a needed key is absent or a value has the wrong type.
    """
    if record.get("instruction") is None and record.get("input") is None:
        raise DataError(
            f"{origin}: neither `instruction` nor `input`; found {_names(record)}. "
            f"Give at least one of them."
        )
    references = _references(record, origin)
    if require_answer:
        _refuse_unanswered(record, references, origin)
    domain = _text(record, "domain", origin) or default_domain
    return Example(
        instruction=_text(record, "instruction", origin),
        input=_text(record, "input", origin),
        references=references,
        domain=domain,
        task=_text(record, "task", origin) or domain,
        origin=origin,
    )


def _references(record: Mapping[str, object], origin: str) -> tuple[str, ...]:
    """`output` and what `references` adds to it; blank ones are dropped."""
    listed = record.get("references")
    if listed is not None and not (
        isinstance(listed, list) and all(isinstance(answer, str) for answer in listed)
    ):
        raise DataError(
            f"{origin}: `references` is {_kind(listed)}; it must be a list of strings, such as "
            f'["yes", "sure"].'
        )
    answers = (_text(record, "output", origin), *(listed or ()))
    return tuple(dict.fromkeys(answer for answer in answers if answer.strip()))


def _refuse_unanswered(
    record: Mapping[str, object], references: tuple[str, ...], origin: str
) -> None:
    output = record.get("output")
    if isinstance(output, str) and not output.strip():
        raise DataError(
            f"{origin}: `output` is an empty string. Write the answer, or remove the line."
        )
    if not references:
        raise DataError(
            f"{origin}: no answer; found {_names(record)}. Give `output` (a string) or "
            f"`references` (a list of strings)."
        )


def _text(record: Mapping[str, object], key: str, origin: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{origin}: `{key}` is {_kind(value)}; it must be a string.")
    return value


def _names(record: Mapping[str, object]) -> str:
    keys = ", ".join(f"`{key}`" for key in record)
    return f"the keys {keys}" if keys else "no key"


def _kind(value: object) -> str:
    if isinstance(value, list) and value:
        return f"a list that holds {_kind(next((x for x in value if not isinstance(x, str)), ''))}"
    names = {
        "NoneType": "null",
        "str": "a string",
        "bool": "a truth value",
        "int": "a number",
        "float": "a number",
        "list": "a list",
        "dict": "an object",
    }
    return names.get(type(value).__name__, type(value).__name__)
