"""Writes docs/configuration.md from the sections of `coplms.config` and their docstrings.

    python docs/generate_configuration.py

A test compares the file with what this script would write.
"""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from coplms.config.base import Section
from coplms.config.edge import EdgeConfig
from coplms.config.run import RunConfig

TARGET = Path(__file__).with_name("configuration.md")

HEAD = """\
# Configuration

A run is described by one YAML file, [the whole file](#the-whole-file) below; a device on a machine
of its own has a smaller one, [device.yaml](#deviceyaml). `coplms init` writes one to start from,
`coplms train FILE --dry-run` checks it, and `--set method.rounds=2` or `--set devices.0.name=law`
changes single keys from the command line. Unknown keys, wrong types and values out of range are
errors that name file, line and key; absent keys take their defaults. Paths of data may hold
`${NAME}`, which is replaced from the environment. A finished run's `config.yaml` holds every value
as it was used.

This file is written by `python docs/generate_configuration.py`; edit the docstrings in
`src/coplms/config/` instead. [quickstart.yaml](../configs/quickstart.yaml) is a whole example.
"""

WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    JsonValue: "any value",
}
TITLES = {
    "RunConfig": "The whole file",
    "EdgeConfig": "device.yaml",
    "DpmConfig": "DPM",
    "MethodConfig": "Method",
    "DstConfig": "DST",
    "SamlConfig": "SAML",
    "IidPartition": "IID partition",
}
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def render() -> str:
    """The whole file."""
    places = [*_sections(RunConfig, ""), *_sections(EdgeConfig, "")]
    parts = [HEAD]
    for section in dict.fromkeys(section for section, _ in places):
        paths = [
            list(dict.fromkeys(path for found, path in _sections(root, "") if found is section))
            for root in (RunConfig, EdgeConfig)
        ]
        parts.append(_section(section, *paths))
    return "\n".join(parts)


def _fields(section: type[Section]) -> dict[str, FieldInfo]:
    """A section's fields; its own come before those that it has in common with other sections."""
    own = [name for name in section.__annotations__ if name in section.model_fields]
    return {name: section.model_fields[name] for name in (*own, *section.model_fields)}


def _sections(section: type[Section], path: str) -> Iterator[tuple[type[Section], str]]:
    """Every section below this one and where it stands, the outermost first."""
    yield section, path
    for name, field in _fields(section).items():
        here = f"{path}.{name}".removeprefix(".")
        for inner, suffix in _inner(field.annotation):
            yield from _sections(inner, here + suffix)


def _inner(annotation: Any) -> Iterator[tuple[type[Section], str]]:
    """The sections that a field's type holds, and what their place adds to the field's."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation, ""
        return
    suffix = "[]" if get_origin(annotation) is tuple else ""
    for argument in get_args(annotation):
        for section, more in _inner(argument):
            yield section, suffix + more


def _section(section: type[Section], paths: list[str], device_paths: list[str]) -> str:
    """A section's heading and table.

    Args:
        section: Which.
        paths: Where it stands in a run's file.
        device_paths: Where it stands in a device's own file.
    """
    title = _title(section)
    where = ", ".join(f"`{path}`" for path in paths if path)
    there = ", ".join(f"`{path}`" for path in device_paths if path)
    if there:
        where = f"{where}; in [device.yaml](#deviceyaml) at {there}" if where else there
    lines = [f"## {title}", "", _text(section.__doc__ or "")]
    lines += ["", f"Stands at {where}."] if where else []
    lines += ["", "| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    lines += [_row(name, field) for name, field in _fields(section).items()]
    return "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    value = ", ".join([_type(field.annotation), *_bounds(field)])
    cells = (f"`{name}`", value, _default(field), _text(field.description or ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(annotation: Any) -> str:
    """A field's type in words.

    >>> _type(tuple[str, ...]), _type(int | None)
    ('list of text', 'whole number')
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    if origin is tuple:
        if arguments[-1] is not Ellipsis:
            return f"list of {len(arguments)}, each a {_type(arguments[0])}"
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"keys with {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        title = _title(annotation)
        return f"[{title}](#{title.lower().replace(' ', '-')})"
    return WORDS[annotation]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        for name, words in LIMITS.items():
            if hasattr(rule, name):
                yield f"{words} {getattr(rule, name)}"
        if getattr(rule, "min_length", None):
            yield f"at least {rule.min_length} of them"
        if getattr(rule, "pattern", None):
            yield f"matching `{rule.pattern}`"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Section):
        return "as there"
    if value is None:
        return "absent"
    return f"`{json.dumps(value)}`"


def _title(section: type[Section]) -> str:
    """A section's heading: `ZooModelConfig` becomes `Zoo model`."""
    if section.__name__ in TITLES:
        return TITLES[section.__name__]
    name = section.__name__.removesuffix("Config")
    return name[0] + "".join(f" {c.lower()}" if c.isupper() else c for c in name[1:])


def _text(docstring: str) -> str:
    return " ".join(docstring.split())


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
