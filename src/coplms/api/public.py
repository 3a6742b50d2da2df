"""What a server offers its devices once: the DPM's folder and public text, as files by digest."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from coplms.config.terms import Blob, DpmFile, Terms, TextPart
from coplms.consortium.members import PublicText
from coplms.data.example import Example
from coplms.errors import ConsortiumError

Fetch = Callable[[Blob], Path]
"""Where a file that the server offers lies now; fetched first where it does not lie here yet."""


def write_public(text: PublicText, folder: Path) -> dict[TextPart, Path]:
    """The files of the public text, one for each part."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[TextPart, Path] = {}
    for part in get_args(TextPart):
        paths[part] = folder / f"{part}.json"
        paths[part].write_bytes(_to_json(getattr(text, part)))
    return paths


def read_public(terms: Terms, fetch: Fetch) -> PublicText:
    """The public text of a run.

    Raises:
        ConsortiumError: If a part is absent or has another form.
    """
    parts = {}
    for part in get_args(TextPart):
        try:
            parts[part] = _from_json(fetch(terms.texts[part]).read_bytes())
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise ConsortiumError(
                f"the server's public text '{part}' is absent or has another form "
                f"({error!r:.200}). Use the same version of coplms on server and devices."
            ) from error
    return PublicText(**parts)


def text_bytes(text: PublicText) -> int:
    """Bytes of the public text's files."""
    return sum(len(_to_json(getattr(text, part))) for part in get_args(TextPart))


def dpm_files(folder: Path) -> dict[DpmFile, Path]:
    """The files of a DPM that travel."""
    found: dict[DpmFile, Path] = {}
    for name in get_args(DpmFile):
        if (folder / name).is_file():
            found[name] = folder / name
    return found


def blob_of(path: Path) -> Blob:
    """A file's digest and size."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(sha256=digest, size=path.stat().st_size)


def _to_json(examples: Sequence[Example]) -> bytes:
    rows = [[e.instruction, e.input, list(e.references), e.domain, e.task] for e in examples]
    return json.dumps(rows, ensure_ascii=False).encode()


def _from_json(data: bytes) -> tuple[Example, ...]:
    return tuple(
        Example(instruction, text, tuple(references), domain, task, f"public[{place}]")
        for place, (instruction, text, references, domain, task) in enumerate(json.loads(data))
    )
