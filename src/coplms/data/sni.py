"""Super-NaturalInstructions task files (Wang et al. 2022, arXiv:2204.07705), of every version.

One JSON file per task. `Definition` is a list of wordings (the first is taken) or, in the versions
of 2021, one string; `Categories` a list or a string; an instance's `output` a list or a single
value, of strings or numbers. An instance whose outputs are all blank is left out: nothing could be
learned from it, or scored.
"""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from coplms.config.data import SourceConfig
from coplms.data.example import Example
from coplms.data.files import find_files
from coplms.errors import DataError

Definition = Literal["full", "first_sentence", "none"]

_SENTENCE_END = re.compile(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?])\s+")


def read(source: SourceConfig) -> Iterator[Example]:
    """Examples of the task files at `source.path` that `source.tasks` names, in order.

    Raises:
        DataError: If a file is missing or not a task file, or a task is unknown.
    """
    files = find_files(source.path, (".json",))
    for path in _named(files, source.tasks) if source.tasks else files:
        yield from read_task(path, source.definition)


def read_task(path: Path, definition: Definition = "full") -> Iterator[Example]:
    """Examples of one task file; the task's name is the file's (or the folder's: see `task_name`).

    Raises:
        DataError: If it is not a task file.
    """
    task = _load(path)
    instruction = _cut(_first_text(task.get("Definition")), definition)
    domain = _first_text(task.get("Categories")) or "unknown"
    for index, instance in enumerate(_instances(task, path)):
        origin = f"{path}[{index}]"
        references = _references(instance, origin)
        if references:
            yield Example(
                instruction=instruction,
                input=str(instance["input"]),
                references=references,
                domain=domain,
                task=task_name(path),
                origin=origin,
            )


def task_name(path: Path) -> str:
    """File name without `.json`; the folder's name for a task that is already split.

    >>> task_name(Path("tasks/task957_e2e.json")), task_name(Path("task363_sst2/train.json"))
    ('task957_e2e', 'task363_sst2')
    """
    if not path.stem.startswith("task") and path.parent.name.startswith("task"):
        return path.parent.name
    return path.stem


def _named(files: Sequence[Path], tasks: Sequence[str]) -> list[Path]:
    where = f"the {len(files)} files in '{files[0].parent}'"
    names = find_tasks([task_name(path) for path in files], tasks, where)
    return sorted(
        (path for path in files if task_name(path) in names),
        key=lambda path: names.index(task_name(path)),
    )


def find_tasks(known: Sequence[str], tasks: Sequence[str], where: str) -> list[str]:
    """The known tasks that are asked for, in the order in which they are.

    Args:
        known: Whole names.
        tasks: Whole names or their beginnings, such as `task957`.
        where: What holds the known ones, for the message.

    Raises:
        DataError: If there is no such task.
    """
    kept: list[str] = []
    for task in (name.removesuffix(".json") for name in tasks):
        found = [name for name in known if f"{name}_".startswith(f"{task}_")]
        if not found:
            raise DataError(
                f"there is no SNI task '{task}' among {where}.\n"
                f"  Close names: {_close_names(task, known)}."
            )
        kept += [name for name in found if name not in kept]
    return kept


def _close_names(task: str, known: Sequence[str]) -> str:
    stems = sorted(set(known))
    numbers = {stem.split("_")[0]: stem for stem in stems}
    close = difflib.get_close_matches(task, stems, n=3, cutoff=0.4)
    close += [numbers[number] for number in difflib.get_close_matches(task, numbers, n=3)]
    return ", ".join(dict.fromkeys(close)) or "none; such as " + stems[0]


def _load(path: Path) -> dict[str, object]:
    try:
        task: object = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}). Write or fetch it again.") from error
    if not isinstance(task, dict):
        raise DataError(
            f"{path}: not an SNI task file: a JSON object with `Definition` and `Instances` "
            f"belongs here."
        )
    return task


def _instances(task: dict[str, object], path: Path) -> list[dict[str, object]]:
    instances = task.get("Instances")
    if not isinstance(instances, list) or not instances:
        raise DataError(
            f"{path}: not an SNI task file: `Instances` must be a list of objects with `input` and "
            f"`output`."
        )
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict) or not isinstance(instance.get("input"), str | int):
            raise DataError(
                f"{path}[{index}]: an instance must be an object with `input` (text) and `output`."
            )
    return instances


def _references(instance: dict[str, object], origin: str) -> tuple[str, ...]:
    output = instance.get("output")
    answers: list[object] = output if isinstance(output, list) else [output]
    if not answers or any(not isinstance(answer, str | int | float) for answer in answers):
        raise DataError(
            f"{origin}: `output` must be a string, a number, or a list of them that is not empty."
        )
    return tuple(dict.fromkeys(str(answer) for answer in answers if str(answer).strip()))


def _first_text(value: object) -> str:
    values: list[object] = value if isinstance(value, list) else [value]
    texts = [text.strip() for text in values if isinstance(text, str) and text.strip()]
    return texts[0] if texts else ""


def _cut(text: str, definition: Definition) -> str:
    if definition == "none":
        return ""
    return text if definition == "full" else _SENTENCE_END.split(text, maxsplit=1)[0]
