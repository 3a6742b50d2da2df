"""What pydantic found wrong, in the words and places of the user's file."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from coplms.config.base import Section
from coplms.config.document import Document, KeyPath, show_path

SHOWN_CHARACTERS = 60


def explain(error: ValidationError, root: type[Section], document: Document) -> str:
    """All mistakes of a document: one on a line of its own, several as a list.

    Args:
        error: What pydantic raised for `document.data`.
        root: The section that the whole document should be.
        document: For the lines.
    """
    mistakes = [_mistake(details, root, document) for details in error.errors()]
    if len(mistakes) == 1:
        return f"{document.name}: {mistakes[0]}"
    return "\n  ".join([f"{document.name}: {len(mistakes)} mistakes", *mistakes])


def closest(word: str, known: list[str]) -> str:
    """A suggestion and all known words, for a word that is not among them.

    >>> closest("round", ["name", "rounds"])
    "Did you mean 'rounds'? Known: name, rounds."
    """
    matches = get_close_matches(word, known, n=1)
    meant = f"Did you mean '{matches[0]}'? " if matches else ""
    return f"{meant}Known: {', '.join(known)}."


def _mistake(details: ErrorDetails, root: type[Section], document: Document) -> str:
    path, parent = _locate(details["loc"], root)
    if details["type"] == "value_error" and not path:
        # A check across sections names its key itself, at the front.
        text = details["msg"].removeprefix("Value error, ")
        named = re.match(r"[a-z_]+(\.[a-z_]+)*", text)
        path = tuple(named[0].split(".")) if named else ()
        return f"{document.place(path)}: {text}"
    return f"{document.place(path)}: {show_path(path)} {_complaint(details, path, parent)}"


def _complaint(details: ErrorDetails, path: KeyPath, parent: type[Section] | None) -> str:
    """What is wrong with a key, and what would be right."""
    fields = parent.model_fields if parent else {}
    meaning = _meaning(fields.get(str(path[-1]))) if path else ""
    match details["type"]:
        case "extra_forbidden":
            return f"is unknown. {closest(str(path[-1]), list(fields))}"
        case "missing":
            return f"is missing. Add it.{meaning}"
        case "union_tag_not_found" | "union_tag_invalid":
            return _wrong_tag(details.get("ctx", {}))
        case "model_type" | "dict_type":
            rule = f"must be a section: keys and values.{_keys(path, parent)}"
        case "tuple_type":
            rule = f"must be a list: put it in [brackets].{meaning}"
        case "value_error":
            rule = details["msg"].removeprefix("Value error, ")
        case _:
            rule = f"{details['msg'].replace('Input should', 'it must')}.{meaning}"
    return f"is {_shown(details['input'])}: {rule}"


def _wrong_tag(context: dict[str, Any]) -> str:
    """The complaint about a section that does not say which of several kinds it is."""
    key = context["discriminator"]
    if "tag" not in context:
        return f"does not say which kind it is. Add the key {key}."
    return f"has {key}: '{context['tag']}', which is unknown. Known: {context['expected_tags']}."


def _locate(
    location: tuple[int | str, ...], root: type[Section]
) -> tuple[KeyPath, type[Section] | None]:
    """Pydantic's location without the tags of unions, and the section that holds its last key."""
    path: KeyPath = ()
    parent: type[Section] | None = None
    choices: list[Any] = [root]
    for part in location:
        sections = [kind for kind in choices if _is_section(kind)]
        if len(sections) > 1:
            choices = [kind for kind in sections if _has_tag(kind, part)]
            continue
        if not choices:
            break
        path = (*path, part)
        parent = sections[0] if sections else None
        choices = _below(choices[0], part)
    return path, parent


def _below(kind: Any, part: int | str) -> list[Any]:
    """The types that may stand under one key or index of a type."""
    if _is_section(kind):
        field = kind.model_fields.get(part)
        return list(_choices(field.annotation)) if field else []
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return list(_choices(arguments[1]))
    if get_origin(kind) in (tuple, list) and isinstance(part, int):
        return list(_choices(arguments[0]))
    return []


def _choices(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _choices(argument)
    elif annotation is not NoneType:
        yield annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _has_tag(section: type[Section], tag: int | str) -> bool:
    return any(field.default == tag for field in section.model_fields.values())


def _keys(path: KeyPath, parent: type[Section] | None) -> str:
    """The keys of the section that should stand at a path."""
    inner = _below(parent, path[-1]) if parent and path else []
    names = [name for kind in inner if _is_section(kind) for name in kind.model_fields]
    return f" Known: {', '.join(dict.fromkeys(names))}." if names else ""


def _meaning(field: FieldInfo | None) -> str:
    if field is None or not field.description:
        return ""
    return f" ({' '.join(field.description.split())})"


def _shown(value: object) -> str:
    """A value as the file could hold it, on one line and not too long."""
    text = "empty" if value is None else repr(value)
    if len(text) > SHOWN_CHARACTERS:
        return f"{text[:SHOWN_CHARACTERS]}..."
    return text
