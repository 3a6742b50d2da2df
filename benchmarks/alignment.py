"""What it costs to find where two tokenizations of one text meet.

    python benchmarks/alignment.py --text "$COPLMS_DATA/corpus/wikitext2_valid_test.jsonl.gz"

Beside SAML's places (byte ends, `coplms.alignment.places`) stands the dynamic programme of FedMKT
(arXiv:2406.02224; `coplms.alignment.edit_distance`), on the same texts, after tokenising. The
programme remembers edit distances of tokens; it is timed with none known yet and with all of them
known. Everything takes turns in one process; times are CPU time, medians over the repeats.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_texts import MAX_CHARACTERS, cut, read_some
from measuring import alternate, describe_machine, median
from numpy.typing import NDArray

from coplms.alignment.edit_distance import Matching, match_tokens, token_distance
from coplms.alignment.places import Chunks, align, encode_answer
from coplms.alignment.token_bytes import token_bytes
from coplms.models.zoo_tokenizers import train_tokenizer

CALLS = 100
"""Calls per timing of what takes less than a millisecond."""

KINDS = ("byte_bpe", "unigram", "fallback_bpe")

Tokens = list[list[bytes | None]]
"""The bytes of every token of every text."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    texts = read_some(options.text, options.characters)
    tokenizers = [
        train_tokenizer(kind, size, texts)
        for kind, size in zip(options.tokenizers, options.vocab, strict=True)
    ]
    room = options.tokens - 2  # EOS, and a first space
    answers = cut(tokenizers[0], texts, options.samples, room)
    sides = [Side(tokenizer, answers) for tokenizer in tokenizers]
    result = {"machine": describe_machine(), "tokenizers": options.tokenizers}
    result |= measure(sides[0], sides[1], options)
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", nargs="+", default=["demo"], help="files to make texts of")
    parser.add_argument("--characters", type=int, default=MAX_CHARACTERS)
    parser.add_argument(
        "--tokenizers", nargs=2, choices=KINDS, default=["byte_bpe", "fallback_bpe"]
    )
    parser.add_argument("--vocab", nargs=2, type=int, default=[4096, 2560])
    parser.add_argument("--samples", type=int, default=8, help="texts of a batch")
    parser.add_argument("--tokens", type=int, default=255, help="of a text, on the left")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


class Side:
    """The texts in one tokenizer's tokens."""

    def __init__(self, tokenizer: Any, answers: Sequence[str]) -> None:
        table = token_bytes(tokenizer)
        encoded = [encode_answer(table, tokenizer, answer) for answer in answers]
        self.tokens: Tokens = [[table.strings[index] for index in ids] for ids, _ in encoded]
        self.ends: NDArray[np.int64] = np.concatenate([ends for _, ends in encoded])
        self.samples = np.repeat(np.arange(len(encoded)), [len(ids) for ids, _ in encoded])
        self.vocabulary = len(table.strings)

    @property
    def tokens_per_text(self) -> float:
        return len(self.ends) / len(self.tokens)


def measure(left: Side, right: Side, options: argparse.Namespace) -> dict[str, Any]:
    def places() -> None:
        for _ in range(CALLS):
            align(left.ends, left.samples, right.ends, right.samples)

    def match() -> list[Matching]:
        return [match_tokens(*pair) for pair in zip(left.tokens, right.tokens, strict=True)]

    def match_without_memory() -> None:
        token_distance.cache_clear()
        match()

    works = [places, match_without_memory, match]
    times = alternate(works, options.repeats, warm_up=1)
    milliseconds = [1000 * median(each, cpu=True) / options.samples for each in times]
    milliseconds[0] /= CALLS
    chunks = align(left.ends, left.samples, right.ends, right.samples)
    return {
        "samples": options.samples,
        "tokens": [left.tokens_per_text, right.tokens_per_text],
        "vocabularies": [left.vocabulary, right.vocabulary],
        "places_ms_per_sample": milliseconds[0],
        "edit_distance_ms_per_sample": milliseconds[1],
        "edit_distance_known_ms_per_sample": milliseconds[2],
        "ratio": milliseconds[1] / milliseconds[0],
        "ratio_known": milliseconds[2] / milliseconds[0],
        "pairs_in_a_chunk": agreement(match(), chunks, left, right),
    }


def agreement(matchings: list[Matching], chunks: Chunks, left: Side, right: Side) -> float:
    """Part of the pairs whose tokens lie in one chunk, that is, share bytes of the text."""
    of_left = np.repeat(np.arange(len(chunks.sample)), chunks.left_count)
    of_right = np.repeat(np.arange(len(chunks.sample)), chunks.right_count)
    left_start = right_start = same = total = 0
    for number, matching in enumerate(matchings):
        for row, column in matching.pairs:
            same += int(of_left[left_start + row] == of_right[right_start + column])
            total += 1
        left_start += len(left.tokens[number])
        right_start += len(right.tokens[number])
    return same / total


def as_table(result: dict[str, Any]) -> str:
    machine, tokens, sizes = result["machine"], result["tokens"], result["vocabularies"]
    lines = [
        f"{machine['cpu']}, load {machine['load_average']}; {result['samples']} texts of "
        f"{tokens[0]:.0f} / {tokens[1]:.0f} tokens on average; {' / '.join(result['tokenizers'])}, "
        f"vocabularies {sizes[0]} / {sizes[1]}; {100 * result['pairs_in_a_chunk']:.1f} % of the "
        "programme's pairs share bytes",
        "",
        "| Alignment of one text | CPU ms | Ratio |",
        "|---|---|---|",
        f"| places | {result['places_ms_per_sample']:.4f} | 1 |",
        f"| edit distances | {result['edit_distance_ms_per_sample']:.1f} | {result['ratio']:.0f} |",
        "| edit distances, those of tokens known "
        f"| {result['edit_distance_known_ms_per_sample']:.1f} | {result['ratio_known']:.0f} |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
