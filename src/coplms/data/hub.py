"""Data sets of the Hugging Face hub, or in a local folder that `datasets` can load.

Columns of a row are those of JSON Lines (`instruction`, `input`, `output`, `references`, `domain`,
`task`), of Super-NaturalInstructions (`definition`, `inputs`, `targets`, `task_name`), or of MMLU
(`question`, `choices`, `answer`, `subject`).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from coplms.config.data import SourceConfig
from coplms.data import jsonl, mmlu, sni
from coplms.data.example import Example
from coplms.data.files import expand
from coplms.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, object]

_TASK = "task_name"
_SNI_COLUMNS = {"definition": "instruction", "inputs": "input", "targets": "output", _TASK: "task"}


def read(source: SourceConfig, require_answer: bool = True) -> Iterator[Example]:
    """Examples of the split `source.split`, in order.

    Args:
        source: `path` is `organisation/name`, `organisation/name:configuration`, or a folder. Where
            rows name an SNI task, `tasks` says which are read.
        require_answer: Whether a row without an answer is an error.

    Raises:
        MissingExtraError: If `datasets` is not installed.
        DataError: If the data set cannot be loaded, its columns are unknown, or a task is.
    """
    name, _, configuration = expand(source.path).partition(":")
    rows = _load(name, configuration or None, source.split)
    if source.tasks:
        rows = _of_tasks(rows, source)
    default_domain = name.rstrip("/").rsplit("/", maxsplit=1)[-1]
    for index, row in enumerate(cast("Iterable[Row]", rows)):
        origin = f"{name}:{source.split}[{index}]"
        yield _to_example(row, origin, default_domain, require_answer)


def is_cached(source: SourceConfig) -> bool:
    """Whether `datasets` has prepared the data set on this machine before.

    Raises:
        MissingExtraError: If `datasets` is not installed.
    """
    datasets = _datasets()
    *above, name = dataset_name(source).split("/")
    folder = "___".join([*above, datasets.naming.camelcase_to_snakecase(name)])
    return any(Path(datasets.config.HF_DATASETS_CACHE).expanduser().glob(f"{folder}/*/*/*"))


def dataset_name(source: SourceConfig) -> str:
    """The hub's name of a source, or its folder; without the configuration."""
    return expand(source.path).partition(":")[0]


def _datasets() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "data format 'hub' needs Datasets: pip install 'coplms[hub]'"
        ) from error
    return cast("ModuleType", datasets)


def _load(name: str, configuration: str | None, split: str) -> "Dataset":
    datasets = _datasets()
    try:
        return datasets.load_dataset(name, configuration, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"hub data set '{name}', split '{split}', cannot be loaded: "
            f"{error.__cause__ or error}\n"
            f"  Check the name (`organisation/name`, or `organisation/name:configuration`), the "
            f"split and the network, or use a local copy with `format: jsonl`."
        ) from error


def _of_tasks(rows: "Dataset", source: SourceConfig) -> "Dataset":
    """The rows of the SNI tasks that `source.tasks` names; others are never made into examples."""
    if _TASK not in rows.column_names:
        raise DataError(
            f"'{source.path}' has no column `{_TASK}`, so `tasks` chooses nothing of it. Leave it "
            f"out, or choose with `domains`."
        )
    kept = set(sni.find_tasks(rows.unique(_TASK), source.tasks, f"those of '{source.path}'"))
    return rows.filter(
        lambda names: [name in kept for name in names], batched=True, input_columns=_TASK
    )


def _to_example(row: Row, origin: str, default_domain: str, require_answer: bool) -> Example:
    if {"question", "choices", "answer"} <= row.keys():
        return _mmlu_example(row, origin, default_domain)
    if {"definition", "inputs", "targets"} <= row.keys():
        row = _renamed(row)
        default_domain = str(row.get("task") or default_domain)
    return jsonl.to_example(row, origin, default_domain, require_answer)


def _renamed(row: Row) -> Row:
    """SNI's columns under the names of JSON Lines; a list of targets becomes `references`."""
    renamed = {_SNI_COLUMNS.get(key, key): value for key, value in row.items()}
    if isinstance(renamed["output"], list):
        renamed["references"] = renamed.pop("output")
    definition = renamed["instruction"]
    if isinstance(definition, list):
        renamed["instruction"] = definition[0] if definition else ""
    return renamed


def _mmlu_example(row: Row, origin: str, default_domain: str) -> Example:
    choices, answer = row["choices"], row["answer"]
    letter = mmlu.LETTERS[answer] if isinstance(answer, int) and 0 <= answer < 4 else answer
    if not isinstance(choices, list) or len(choices) != 4 or letter not in mmlu.LETTERS:
        raise DataError(
            f"{origin}: `choices` must be a list of four texts and `answer` a number from 0 to 3 "
            f"or a letter from A to D; found answer {answer!r} and choices {choices!r}."
        )
    subject = str(row.get("subject") or default_domain)
    texts = [str(choice) for choice in choices]
    return mmlu.to_example(str(row["question"]), texts, str(letter), subject, origin)
