"""How a member's examples look to a tokenizer: what is cut, and which answers do not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coplms.alignment.places import encode_answers
from coplms.consortium.messages import SERVER
from coplms.data.example import Example
from coplms.data.members import ConsortiumData, MemberData
from coplms.data.prompt import encode_prompt
from coplms.errors import DataError
from coplms.training.encoding import MIN_PROMPT_TOKENS, Encoder

_WHOLE = 2**31
_SHOWN_MISFITS = 5


@dataclass(frozen=True)
class Misfit:
    """An answer that leaves no room for a prompt.

    Attributes:
        origin: `file:line` of the example.
        num_tokens: Tokens of the answer, EOS included.
    """

    origin: str
    num_tokens: int


@dataclass(frozen=True)
class Reading:
    """One member's train and dev examples in one model's tokens.

    Attributes:
        reader: Whose tokenizer: `llm`, or `NAME/slm`.
        member: Whose examples.
        num_examples: How many.
        num_cut: Of how many the prompt loses its middle.
        longest: Tokens of the longest example, after cutting.
        longest_answer: Tokens of the longest answer that fits.
        num_tokens: Tokens of all examples that fit, after cutting.
        num_answer_tokens: Tokens of all answers that fit.
        misfits: Answers that do not fit.
    """

    reader: str
    member: str
    num_examples: int
    num_cut: int
    longest: int
    longest_answer: int
    num_tokens: int
    num_answer_tokens: int
    misfits: tuple[Misfit, ...]


@dataclass(frozen=True)
class Lengths:
    """Tokens of a model's examples and answers.

    Attributes:
        example: Of the longest example.
        answer: Of the longest answer.
        mean_example: Of an example, on average.
        mean_answer: Of an answer, on average.
    """

    example: int
    answer: int
    mean_example: float
    mean_answer: float


def trained_on(member: MemberData) -> list[Example]:
    """The examples whose answers models read: those of train and dev."""
    return [*member.train, *member.dev]


def find_misfits(encoder: Encoder, examples: Sequence[Example]) -> tuple[Misfit, ...]:
    """The answers that do not fit the context, by one tokenizer; each answer is read once."""
    answers = list(dict.fromkeys(example.answer for example in examples))
    encoded = encode_answers(encoder.bytes, encoder.model.tokenizer, answers)
    lengths = {answer: len(ids) for answer, (ids, _) in zip(answers, encoded, strict=True)}
    most = encoder.max_length - MIN_PROMPT_TOKENS
    return tuple(
        Misfit(example.origin, lengths[example.answer])
        for example in examples
        if lengths[example.answer] > most
    )


def read_member(encoder: Encoder, member: str, examples: Sequence[Example]) -> Reading:
    """What a tokenizer makes of a member's examples."""
    misfits = find_misfits(encoder, examples)
    origins = {misfit.origin for misfit in misfits}
    fitting = [example for example in examples if example.origin not in origins]
    encoded = encoder(fitting)
    # A prompt that was cut fills the context: only such examples need a second look.
    full = [
        (example, len(found.prompt))
        for example, found in zip(fitting, encoded, strict=True)
        if len(found) == encoder.max_length
    ]
    return Reading(
        reader=encoder.model.name,
        member=member,
        num_examples=len(examples),
        num_cut=sum(_prompt_tokens(encoder, example) > kept for example, kept in full),
        longest=max(map(len, encoded), default=0),
        longest_answer=max((len(found.answer) for found in encoded), default=0),
        num_tokens=sum(map(len, encoded)),
        num_answer_tokens=sum(len(found.answer) for found in encoded),
        misfits=misfits,
    )


def lengths_of(readings: Sequence[Reading]) -> Lengths | None:
    """What one tokenizer makes of all that it reads; None of nothing."""
    count = sum(found.num_examples - len(found.misfits) for found in readings)
    if not count:
        return None
    return Lengths(
        example=max(found.longest for found in readings),
        answer=max(found.longest_answer for found in readings),
        mean_example=sum(found.num_tokens for found in readings) / count,
        mean_answer=sum(found.num_answer_tokens for found in readings) / count,
    )


def _prompt_tokens(encoder: Encoder, example: Example) -> int:
    return len(encode_prompt(encoder.model.tokenizer, example, encoder.template, _WHOLE))


def sources_of(data: ConsortiumData, member: str) -> dict[str, MemberData]:
    """Whose examples a member's own model reads: a device its own and the server's.

    The server's are those of all: its LLM's tokenizer is the DPM's, which reads on every device.
    """
    if member == SERVER:
        return {SERVER: data.server, **data.devices}
    return {member: data.devices[member], SERVER: data.server}


def readers(
    encoders: Mapping[str, Encoder], data: ConsortiumData
) -> list[tuple[Encoder, dict[str, MemberData]]]:
    """Each tokenizer with the members whose examples it reads.

    Args:
        encoders: Member -> its tokenizer, which devices with the same model share.
        data: Who holds what.
    """
    found: dict[int, tuple[Encoder, dict[str, MemberData]]] = {}
    for member, encoder in encoders.items():
        _, sources = found.setdefault(id(encoder), (encoder, {}))
        sources |= sources_of(data, member)
    return list(found.values())


def misfit_error(reader: str, misfits: Sequence[Misfit], max_length: int) -> DataError:
    """The one error for all answers that do not fit; there is at least one."""
    first, *others = misfits
    needed = max(misfit.num_tokens for misfit in misfits) + MIN_PROMPT_TOKENS
    shown = ", ".join(misfit.origin for misfit in others[: _SHOWN_MISFITS - 1])
    more = f" ({len(others)} more do not fit: {shown}" if others else ""
    if others:
        more += ", ...)" if len(others) >= _SHOWN_MISFITS else ")"
    return DataError(
        f"{first.origin}: the answer has {first.num_tokens} tokens for '{reader}', and "
        f"data.max_length is {max_length}{more}. Answers are never cut: raise data.max_length to "
        f"{needed} or more, or shorten these answers."
    )
