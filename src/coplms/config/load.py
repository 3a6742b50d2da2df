"""A YAML file and `--set` overrides become a configuration, and that becomes YAML again."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from coplms.config.base import Section
from coplms.config.bench import BenchConfig
from coplms.config.document import (
    Document,
    KeyPath,
    parse_document,
    read_document,
    show_path,
)
from coplms.config.edge import EdgeConfig
from coplms.config.explain import explain
from coplms.config.run import RunConfig
from coplms.errors import ConfigError

Config = TypeVar("Config", bound=Section)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration in a YAML file, changed by overrides.

    Args:
        path: A YAML file in UTF-8.
        overrides: `KEY=VALUE` with dots between keys, list items by number from 0 and the value
            in YAML: `method.rounds=2`, `devices.0.name=law` or `devices[0].name=law`. Later ones
            win; keys that contain dots cannot be reached.

    Raises:
        ConfigError: One error for all mistakes, each with its line (or override) and its key.
    """
    return _load(RunConfig, path, overrides)


def load_edge(path: Path, overrides: Sequence[str] = ()) -> EdgeConfig:
    """A device's own configuration; as `load_config`."""
    return _load(EdgeConfig, path, overrides)


def load_bench(path: Path) -> BenchConfig:
    """The bench in a YAML file in UTF-8.

    Raises:
        ConfigError: As `load_config`.
    """
    return _load(BenchConfig, path, ())


def dump_config(config: Section) -> str:
    """YAML that loads to an equal configuration, with every default written out."""
    values = config.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _load(model: type[Config], path: Path, overrides: Sequence[str]) -> Config:
    document = read_document(path)
    if document.data is None:
        needed = [name for name, field in model.model_fields.items() if field.is_required()]
        keys = ", ".join(f"`{name}`" for name in sorted(needed, reverse=True))
        raise ConfigError(f"{path}: is empty. Give at least {keys}.")
    if not isinstance(document.data, dict):
        kind = type(document.data).__name__
        raise ConfigError(f"{path}:1: holds a {kind}, but must hold keys and values.")
    for override in overrides:
        _apply(override, document)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(explain(error, model, document)) from error


def _apply(override: str, document: Document) -> None:
    """Write one override's value into the document, making sections that are absent."""
    name = f"--set {override}"
    key, equals, text = override.partition("=")
    path = _parse_path(key.strip())
    if not equals or not path:
        raise ConfigError(f"{name}: is not KEY=VALUE. Write for example --set method.rounds=2.")
    value = parse_document(text, name).data
    container = document.data
    for depth, part in enumerate(path[:-1]):
        here = path[:depth]
        index = _index(container, part, here, name)
        if isinstance(container, dict) and container.get(index) is None:
            container[index] = {}
        container = container[index]
    container[_index(container, path[-1], path[:-1], name)] = value
    _note(document, path, name)


def _parse_path(key: str) -> tuple[str, ...]:
    """The parts of `a.0.b` or `a[0].b`; nothing if one is empty."""
    parts = tuple(re.sub(r"\[(\d+)\]", r".\1", key).split("."))
    return parts if all(parts) else ()


def _index(container: Any, part: str, here: tuple[str, ...], name: str) -> str | int:
    """`part` as a key of a dict or as an index of a list."""
    if isinstance(container, dict):
        return part
    where = show_path(_numbered(here))
    if not isinstance(container, list):
        raise ConfigError(
            f"{name}: {where} is {container!r} and has no keys, so '{part}' cannot be set in it. "
            f"Set {where} itself."
        )
    if not part.isdecimal() or int(part) >= len(container):
        raise ConfigError(
            f"{name}: {where} is a list of {len(container)} items, and '{part}' is none of them. "
            f"Give a number from 0 to {len(container) - 1}, or set {where} to a whole list."
        )
    return int(part)


def _numbered(path: tuple[str, ...]) -> KeyPath:
    return tuple(int(part) if part.isdecimal() else part for part in path)


def _note(document: Document, path: tuple[str, ...], name: str) -> None:
    """Let mistakes in the value be blamed on the override instead of a line."""
    changed = _numbered(path)
    for place in list(document.places):
        if place[: len(changed)] == changed:
            del document.places[place]
    document.places[changed] = name
