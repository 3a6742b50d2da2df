"""Class maps between vocabularies of real models, rebuilt from files that packages ship.

    python benchmarks/real_tokenizers.py --tiktoken qwen.tiktoken --javascript llama-tokenizer.js \\
        --text "$COPLMS_DATA/corpus/wikitext2_valid_test.jsonl.gz"

A `.tiktoken` file (the Python package `dashscope` has Qwen's) lists the tokens of a byte-level BPE
by rank. The scripts `llama-tokenizer.js` and `mistral-tokenizer.js` of the npm packages of these
names hold a metaspace BPE with byte fallback. The files are given; nothing is downloaded.
"""

import argparse
import base64
import json
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from bench_texts import read_some
from measuring import alternate, describe_machine, median
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from coplms.alignment.classes import build_class_map
from coplms.alignment.places import align, encode_answers
from coplms.alignment.token_bytes import token_bytes

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ASSIGNED = r"""\w*{name}\s*=\s*["'`]([A-Za-z0-9+/=]+)["'`]"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    built = {path.stem: read_tiktoken(path) for path in options.tiktoken}
    built |= {path.stem: read_javascript(path) for path in options.javascript}
    lines = " ".join(read_some(options.text, options.characters)).splitlines()
    texts = [line.strip() for line in lines if line.strip()]
    result = {
        "machine": describe_machine(),
        "pairs": [
            measure(names, built, texts, options.repeats) for names in combinations(built, 2)
        ],
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiktoken", nargs="*", type=Path, default=[], help=".tiktoken files")
    parser.add_argument("--javascript", nargs="*", type=Path, default=[], help="...-tokenizer.js")
    parser.add_argument("--text", nargs="+", default=["demo"], help="files to count chunks on")
    parser.add_argument("--characters", type=int, default=500_000, help="read about so many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


def measure(
    names: tuple[str, str],
    built: dict[str, PreTrainedTokenizerFast],
    texts: Sequence[str],
    repeats: int,
) -> dict[str, Any]:
    """CPU seconds of a class map from nothing, and what it and the alignment are like."""
    pair = [built[name] for name in names]

    def read() -> None:
        for tokenizer in pair:
            token_bytes(tokenizer)

    tables = [token_bytes(tokenizer) for tokenizer in pair]
    sizes = [len(table.strings) for table in tables]

    def build() -> None:
        build_class_map(tables[0], tables[1], sizes[0], sizes[1])

    times = alternate([read, build], repeats, warm_up=0)
    classes = build_class_map(tables[0], tables[1], sizes[0], sizes[1])
    return {
        "names": names,
        "vocabularies": sizes,
        "bytes_cpu_seconds": median(times[0], cpu=True),
        "map_cpu_seconds": median(times[1], cpu=True),
        "classes": classes.num_classes,
        "other": [
            int((side == classes.other_class).sum()) for side in (classes.left, classes.right)
        ],
        "largest_class": [int(np.bincount(side).max()) for side in (classes.left, classes.right)],
        **count_chunks(pair, texts),
    }


def count_chunks(pair: Sequence[PreTrainedTokenizerFast], texts: Sequence[str]) -> dict[str, Any]:
    sides = []
    for tokenizer in pair:
        encoded = [ends for _, ends in encode_answers(token_bytes(tokenizer), tokenizer, texts)]
        counts = [len(ends) for ends in encoded]
        sides += [np.concatenate(encoded), np.repeat(np.arange(len(encoded)), counts)]
    chunks = align(*sides)
    single = (chunks.left_count == 1) & (chunks.right_count == 1)
    return {"chunks": len(single), "one_to_one": float(single.mean())}


def as_table(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, CPU seconds, load {machine['load_average']}",
        "",
        "| Pair | Vocabularies | Read bytes, s | Class map, s | Classes | In OTHER | Largest class "
        "| Chunks | One-to-one |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["pairs"]:
        cells = (
            " / ".join(row["names"]),
            " / ".join(map(str, row["vocabularies"])),
            f"{row['bytes_cpu_seconds']:.2f}",
            f"{row['map_cpu_seconds']:.2f}",
            str(row["classes"]),
            " / ".join(map(str, row["other"])),
            " / ".join(map(str, row["largest_class"])),
            str(row["chunks"]),
            f"{row['one_to_one']:.1%}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# Tokenizers --------------------------------------------------------------------------------


def read_tiktoken(path: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE with Qwen's borders between words; a merge for every token."""
    lines = path.read_bytes().split(b"\n")
    pairs = [line.split() for line in lines if line]
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    code = _byte_characters()
    names = {token: "".join(code[byte] for byte in token) for token in ranks}
    merges = [_last_merge(token, ranks) for token in sorted(ranks, key=ranks.__getitem__)]
    tokenizer = Tokenizer(
        models.BPE(
            {names[token]: rank for token, rank in ranks.items()},
            [(names[pair[0]], names[pair[1]]) for pair in merges if pair is not None],
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, name_or_path=path.stem, eos_token="<|endoftext|>"
    )


def _byte_characters() -> dict[int, str]:
    """How byte-level vocabularies write bytes: unprintable ones moved to U+0100 and above."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = [byte for byte in range(256) if byte not in printable]
    code = {byte: chr(byte) for byte in printable}
    return code | {byte: chr(0x100 + place) for place, byte in enumerate(moved)}


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that are merged last when the token is built by lower ranks alone."""
    parts = [token[index : index + 1] for index in range(len(token))]
    if len(parts) == 1:
        return None
    while len(parts) > 2:
        merged = [ranks.get(parts[i] + parts[i + 1], len(ranks)) for i in range(len(parts) - 1)]
        place = merged.index(min(merged))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def read_javascript(path: Path) -> PreTrainedTokenizerFast:
    """A metaspace BPE with byte fallback, from two base64 strings inside a script."""
    script = path.read_text(encoding="utf-8")
    tokens = _base64_string(script, "vocab_base64").decode().split("\n")
    pairs = np.frombuffer(_base64_string(script, "merges_binary"), dtype="<u2").reshape(-1, 2)
    tokenizer = Tokenizer(
        models.BPE(
            {token: index for index, token in enumerate(tokens)},
            [(tokens[left], tokens[right]) for left, right in pairs],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path=path.stem,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def _base64_string(script: str, name: str) -> bytes:
    found = re.search(_ASSIGNED.format(name=name), script)
    if found is None:
        raise SystemExit(f"the script assigns no base64 string to a name that ends in '{name}'")
    return base64.b64decode(found[1])


if __name__ == "__main__":
    main()
