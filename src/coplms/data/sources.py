"""A source of the configuration -> its examples, filtered and checked."""

from collections.abc import Callable, Iterator
from functools import partial

from coplms.config.data import SourceConfig
from coplms.data import demo, hub, jsonl, mmlu, sni
from coplms.data.draw import limit_per_domain
from coplms.data.example import Example
from coplms.errors import DataError

READERS: dict[str, Callable[[SourceConfig], Iterator[Example]]] = {
    "jsonl": jsonl.read,
    "sni": sni.read,
    "mmlu": mmlu.read,
    "hub": hub.read,
    "demo": demo.read,
}
"""Every format, with its reader."""

UNLABELLED_READERS: dict[str, Callable[[SourceConfig], Iterator[Example]]] = {
    **READERS,
    "jsonl": partial(jsonl.read, require_answer=False),
    "hub": partial(hub.read, require_answer=False),
}
"""The same, for text whose answers nobody needs."""


def read_source(
    source: SourceConfig, seed: int = 0, require_answer: bool = True
) -> tuple[Example, ...]:
    """Examples of a source after its filters and `limit_per_domain`; at least one.

    Args:
        source: Where the examples are.
        seed: Decides which examples `limit_per_domain` keeps.
        require_answer: Whether an example without an answer is an error.

    Raises:
        DataError: If the source is missing, broken or empty.
    """
    readers = READERS if require_answer else UNLABELLED_READERS
    examples = list(readers[source.format](source))
    for example in examples:
        _refuse_broken_text(example)
    if not examples:
        raise DataError(f"'{source.path}' (format '{source.format}') holds no example.")
    examples = _keep_short(_keep_domains(examples, source), source)
    if source.limit_per_domain is not None:
        examples = limit_per_domain(examples, source.limit_per_domain, seed)
    return tuple(examples)


def _keep_domains(examples: list[Example], source: SourceConfig) -> list[Example]:
    if not source.domains:
        return examples
    known = {example.domain for example in examples}
    unknown = sorted(set(source.domains) - known)
    if unknown:
        raise DataError(
            f"'{source.path}' has no domain '{unknown[0]}'. Known: {', '.join(sorted(known))}.\n"
            f"  Correct `domains`."
        )
    return [example for example in examples if example.domain in source.domains]


def _keep_short(examples: list[Example], source: SourceConfig) -> list[Example]:
    most = source.max_answer_bytes
    if most is None:
        return examples
    lengths = [len(answer.encode()) for each in examples for answer in each.references[:1]]
    if lengths and min(lengths) > most:
        raise DataError(
            f"'{source.path}': max_answer_bytes is {most}, and the shortest answer has "
            f"{min(lengths)} bytes. Raise max_answer_bytes."
        )
    return [e for e in examples if not e.references or len(e.references[0].encode()) <= most]


def _refuse_broken_text(example: Example) -> None:
    try:
        "".join((example.instruction, example.input, *example.references)).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{example.origin}: half of a surrogate pair (such as \\ud83d alone), which is not "
            f"text. Write the whole character, or remove it."
        ) from error
