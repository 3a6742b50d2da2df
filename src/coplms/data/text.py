"""Files -> plain text documents, for pre-training and distillation."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from coplms.data import jsonl, sni
from coplms.data.demo import demo_text
from coplms.data.example import Example
from coplms.data.files import find_files
from coplms.errors import DataError

DEMO = "demo"
"""The path that stands for the text that coplms generates."""

SUFFIXES = (*jsonl.SUFFIXES, ".json", ".txt")


def read_text(paths: Sequence[str]) -> Iterator[str]:
    """Documents of the files, in order; blank ones are left out.

    Args:
        paths: Files, folders or patterns. JSONL (also gzipped) holds `text`, or `instruction`,
            `input` and `output`; `.json` is a Super-NaturalInstructions task; `.txt` is one
            document. `demo` is generated text.

    Raises:
        DataError: If a file is missing, broken, or of another kind.
    """
    for path in paths:
        documents = demo_text() if path == DEMO else _documents(path)
        yield from (document for document in documents if document.strip())


def _documents(path: str) -> Iterator[str]:
    for file in find_files(path, SUFFIXES):
        if file.name.endswith(jsonl.SUFFIXES):
            yield from _lines(file)
        elif file.suffix == ".json":
            yield from map(render, sni.read_task(file))
        elif file.suffix == ".txt":
            yield _whole(file)
        else:
            raise DataError(
                f"{file}: text is read from {', '.join(SUFFIXES)} files. Convert or rename it."
            )


def render(example: Example) -> str:
    """Instruction, input and answer as one text; an empty field leaves no line."""
    lines = (example.instruction, example.input, f"Answer: {example.answer}")
    return "\n".join(line for line in lines if line.strip())


def _lines(path: Path) -> Iterator[str]:
    for origin, record in jsonl.read_objects(path):
        if "text" not in record:
            yield render(jsonl.to_example(record, origin, default_domain=jsonl.stem(path)))
            continue
        if not isinstance(record["text"], str):
            raise DataError(f"{origin}: `text` must be a string.")
        yield record["text"]


def _whole(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from error
