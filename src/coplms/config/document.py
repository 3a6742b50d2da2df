"""A YAML file as plain dicts and lists that remember the line of every key.

Only what a configuration needs: one document, mappings, lists and scalars. Other tags, aliases
that contain themselves and keys that occur twice are errors.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from coplms.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("devices", 2, "slm")` is `devices[2].slm` in messages."""

PLAIN_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass
class Document:
    """What a text says, and where it says it.

    Attributes:
        name: The file's path, or the override, for messages.
        data: Dicts, lists and scalars.
        places: For every key and list item, such as `line 12`.
    """

    name: str
    data: Any
    places: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """The place of the closest enclosing key that the text contains."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "line 1")


def read_document(path: Path) -> Document:
    """The content of a YAML file.

    Raises:
        ConfigError: If the file is absent, is not UTF-8 or is not such YAML.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(_unreadable(path, error)) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text. Save the file as UTF-8.") from error
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Document:
    """The content of a YAML text; `name` stands in error messages as a file would.

    >>> parse_document("rounds: 2", "a.yaml").data
    {'rounds': 2}

    Raises:
        ConfigError: If the text is not such YAML.
    """
    document = Document(name, None)
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _refuse_traps(node, name, set(), set())
            document.data = _build(loader, node, document, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = error.problem or error.context
        raise ConfigError(f"{where}: is not valid YAML: {problem}. {_hint(problem)}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(
            f"{name}:{line}: holds a character that YAML forbids ({error.character!r}). Remove it."
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deeply. Write it with fewer levels.") from error
    finally:
        if loader is not None:
            loader.dispose()
    return document


def show_path(path: KeyPath) -> str:
    """A key path as messages show it and `--set` takes it.

    >>> show_path(("devices", 2, "slm", "model"))
    'devices[2].slm.model'
    """
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return shown.removeprefix(".")


def _unreadable(path: Path, error: OSError) -> str:
    if path.is_dir():
        return f"{path}: is a folder. Name the YAML file in it."
    if path.exists():
        return f"{path}: cannot be read ({error.strerror}). Check its permissions."
    known = sorted(entry.name for entry in path.parent.glob("*.y*ml"))
    beside = f"In {path.parent} there are: {', '.join(known)}." if known else "Check the path."
    return f"{path}: does not exist. {beside}"


def _hint(problem: str | None) -> str:
    if problem and "\\t" in problem:
        return "Indent with spaces, not tabs."
    return "Check the indentation and quotes of this line and the one before."


def _refuse_traps(node: yaml.Node, name: str, above: set[int], checked: set[int]) -> None:
    """Refuse keys that occur twice, foreign tags, and aliases that contain themselves."""
    if isinstance(node, yaml.ScalarNode) or id(node) in checked:
        return
    where = f"{name}:{node.start_mark.line + 1}"
    if id(node) in above:
        raise ConfigError(f"{where}: an alias contains itself. Write the value out.")
    if node.tag not in PLAIN_TAGS:
        raise ConfigError(f"{where}: the tag '{node.tag}' is not supported. Remove it.")
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node, name)
        children = [child for pair in node.value for child in pair]
    else:
        children = node.value
    for child in children:
        _refuse_traps(child, name, above | {id(node)}, checked)
    checked.add(id(node))


def _refuse_repeated_keys(node: yaml.MappingNode, name: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{name}:{line}: a key is a list or mapping. Keys must be words.")
        if key.value in lines:
            raise ConfigError(
                f"{name}:{line}: the key '{key.value}' occurs twice, first in line "
                f"{lines[key.value]}. Remove one of them."
            )
        lines[key.value] = line


def _build(loader: yaml.SafeLoader, node: yaml.Node, document: Document, path: KeyPath) -> Any:
    document.places.setdefault(path, f"line {node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)  # `<<: *base` becomes base's keys, before the own ones
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(loader, key_node, document.name)
            here = (*path, key)
            document.places[here] = f"line {key_node.start_mark.line + 1}"
            mapping[key] = _build(loader, value_node, document, here)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(loader, item, document, (*path, index)) for index, item in enumerate(node.value)
        ]
    return _scalar(loader, node, document.name)


def _key(loader: yaml.SafeLoader, node: yaml.Node, name: str) -> str:
    key = _scalar(loader, node, name)
    if not isinstance(key, str):
        raise ConfigError(
            f"{name}:{node.start_mark.line + 1}: the key '{node.value}' is read as "
            f"{type(key).__name__}. Put it in quotes."
        )
    return key


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, name: str) -> Any:
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # PyYAML leaks these for values such as 2024-13-45 or !!bool maybe.
        kind = re.sub(r".*:", "", node.tag)
        raise ConfigError(
            f"{name}:{node.start_mark.line + 1}: '{node.value}' is no valid {kind}. "
            "Put it in quotes if it is text."
        ) from error
