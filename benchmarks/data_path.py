"""What happens to text before a step: encoding, alignment, and how much of a batch is padding.

    python benchmarks/data_path.py
    python benchmarks/data_path.py --text "$COPLMS_DATA/corpus/dialogues.jsonl.gz" \\
        --set CLINC150 jsonl "$COPLMS_DATA/domains/clinc150/train.jsonl" 96 \\
        --set MMLU mmlu "$COPLMS_DATA/mmlu/test" 512

Each data set is read by the tokenizer on the left and by each of those on the right, as mini models
have them. Padding is the part of all places that holds no token, over the batches of a phase: in
shuffled order, as training draws them, and as training draws them from two pools: a quarter of a
batch from a third of the domains, the rest from all others.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_texts import MAX_CHARACTERS, read_some
from measuring import alternate, describe_machine, median
from numpy.typing import NDArray

from coplms.alignment.places import spelled_ends
from coplms.api.reading import find_misfits
from coplms.config.data import DataConfig, SourceConfig
from coplms.data.example import Example
from coplms.data.sources import read_source
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_tokenizers import TokenizerKind, train_tokenizer
from coplms.training.batches import collate_pair
from coplms.training.buckets import batch_indices
from coplms.training.encoding import BLOCK, Encoder
from coplms.training.pair_encoding import PairedExample, PairEncoder, align_pairs

TEMPLATE = DataConfig.model_fields["template"].default
DEMO = ("demo", "demo", "demo", "64")


@dataclass(frozen=True)
class Kind:
    """A tokenizer to be trained, written KIND:SIZE."""

    kind: TokenizerKind
    size: int

    @classmethod
    def parse(cls, text: str) -> "Kind":
        kind, size = text.split(":")
        return cls(kind, int(size))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind} {self.size}"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    texts = read_some(options.text, options.characters)
    left, *rights = (
        LanguageModel(str(kind), None, train_tokenizer(kind.kind, kind.size, texts), "")  # type: ignore[arg-type]
        for kind in (options.left, *options.right)
    )
    sets = [
        measure(name, form, path, int(most), (left, right), options)
        for name, form, path, most in options.set or [DEMO]
        for right in rights
    ]
    result = {"machine": describe_machine(), "left": left.name, "sets": sets}
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(speed_table(result), padding_table(result), sep="\n\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", nargs="+", default=["demo"], help="to train tokenizers on")
    parser.add_argument("--characters", type=int, default=MAX_CHARACTERS)
    parser.add_argument(
        "--set", nargs=4, action="append", metavar=("NAME", "FORMAT", "PATH", "MAX_LENGTH")
    )
    parser.add_argument("--left", type=Kind.parse, default=Kind("byte_bpe", 4096))
    parser.add_argument(
        "--right",
        nargs="+",
        type=Kind.parse,
        default=[Kind("unigram", 2048), Kind("byte_bpe", 1024), Kind("fallback_bpe", 2048)],
    )
    parser.add_argument("--examples", type=int, default=4000, help="at most, of each data set")
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


def measure(
    name: str,
    form: str,
    path: str,
    max_length: int,
    models: tuple[LanguageModel, LanguageModel],
    options: argparse.Namespace,
) -> dict[str, Any]:
    source = SourceConfig(path=path, format=form)  # type: ignore[arg-type]
    everything = read_source(source)
    order = np.random.default_rng(0).permutation(len(everything))[: options.examples]
    examples = [everything[index] for index in order]
    encoders = [Encoder(model, TEMPLATE, max_length) for model in models]
    unfit = {misfit.origin for each in encoders for misfit in find_misfits(each, examples)}
    examples = [example for example in examples if example.origin not in unfit]
    return {
        "name": name,
        "right": models[1].name,
        "examples": len(examples),
        **measure_encoding(models[0], examples, max_length, options),
        **measure_alignment(encoders, examples, options),
        "padding": measure_padding(encoders, examples, options),
    }


# Speed -------------------------------------------------------------------------------------


def measure_encoding(
    model: LanguageModel, examples: Sequence[Example], most: int, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds for all examples, one by one and together; by new encoders, which know none yet."""
    needed = range(2 * (options.repeats + options.warm_up))
    new = iter([Encoder(model, TEMPLATE, most) for _ in needed])

    def one_by_one() -> None:
        encoder = next(new)
        for example in examples:
            encoder([example])

    def together() -> None:
        next(new)(examples)

    alone, batched = alternate([one_by_one, together], options.repeats, options.warm_up)
    return {
        "one_by_one_per_second": len(examples) / median(alone),
        "together_per_second": len(examples) / median(batched),
        "one_by_one_cpu_ms": 1000 * median(alone, cpu=True) / len(examples),
        "together_cpu_ms": 1000 * median(batched, cpu=True) / len(examples),
    }


def measure_alignment(
    encoders: Sequence[Encoder], examples: Sequence[Example], options: argparse.Namespace
) -> dict[str, float]:
    """CPU milliseconds per sample after tokenising: byte ends of both sides, chunks, tensors."""
    sides = [encoder(examples) for encoder in encoders]
    texts = [f" {example.answer}".encode() for example in examples]
    ids = [[each.answer[:-1] for each in side] for side in sides]
    pairs = PairEncoder(*encoders)(examples)
    cpu = torch.device("cpu")
    blocks = [slice(start, start + BLOCK) for start in range(0, len(examples), BLOCK)]

    def ends() -> None:
        for encoder, tokens in zip(encoders, ids, strict=True):
            for block in blocks:
                spelled_ends(encoder.bytes, tokens[block], texts[block])

    def chunks() -> None:
        for block in blocks:
            align_pairs(*(side[block] for side in sides))

    def tensors() -> None:
        for start in range(0, len(pairs), 16):
            collate_pair(pairs[start : start + 16], (0, 0), (cpu, cpu))

    times = alternate([ends, chunks, tensors], options.repeats, options.warm_up)
    names = ("ends_ms", "chunks_ms", "tensors_ms")
    found = [1000 * median(each, cpu=True) / len(examples) for each in times]
    return dict(zip(names, found, strict=True)) | {"one_to_one": one_to_one(pairs)}


def one_to_one(pairs: Sequence[PairedExample]) -> float:
    """Part of the chunks that are one token on both sides."""
    left = np.concatenate([pair.chunks.left_count for pair in pairs])
    right = np.concatenate([pair.chunks.right_count for pair in pairs])
    return float(((left == 1) & (right == 1)).mean())


# Padding -----------------------------------------------------------------------------------


def measure_padding(
    encoders: Sequence[Encoder], examples: Sequence[Example], options: argparse.Namespace
) -> list[dict[str, Any]]:
    pairs = PairEncoder(*encoders)(examples)
    lengths = np.array([pair.lengths for pair in pairs]) - 1  # the last token is never read
    domains = sorted({example.domain for example in examples})
    own = np.isin([example.domain for example in examples], domains[: -(-len(domains) // 3)])
    found = []
    for size in options.batch:
        shuffled = in_any_order(lengths, size, options.steps)
        drawn = as_drawn([lengths], [size], options.steps)
        quarter = max(1, size // 4)
        mixed = as_drawn([lengths[own], lengths[~own]], [quarter, size - quarter], options.steps)
        found.append(
            {
                "batch": size,
                "shuffled": padding(shuffled),
                "drawn": padding(drawn),
                "two_pools": padding(mixed),
            }
        )
    return found


Lengths = NDArray[np.int64]
"""Tokens of examples for each of the two models, `[examples, 2]`."""


def in_any_order(lengths: Lengths, size: int, steps: int) -> Iterator[Lengths]:
    generator = np.random.default_rng(0)
    for _ in range(steps):
        yield lengths[generator.choice(len(lengths), size, replace=False)]


def as_drawn(pools: Sequence[Lengths], counts: Sequence[int], steps: int) -> Iterator[Lengths]:
    used = [(pool, count) for pool, count in zip(pools, counts, strict=True) if len(pool)]
    drawn = [pool for pool, _ in used]
    for batch in batch_indices(drawn, [count for _, count in used], steps, seed=0):
        yield np.array([drawn[pool][index] for pool, index in batch])


def padding(batches: Iterator[Lengths]) -> list[float]:
    """Part of all places that holds no token, for each model."""
    tokens = places = np.zeros(2)
    for batch in batches:
        tokens = tokens + batch.sum(axis=0)
        places = places + len(batch) * batch.max(axis=0)
    return [float(part) for part in 1 - tokens / places]


# Tables ------------------------------------------------------------------------------------


def speed_table(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}; "
        f"left {result['left']}",
        "",
        "| Data | Right | Examples | One by one /s | Together /s | CPU ms one by one | together "
        "| Align, ms per sample | Tensors, ms per sample | One-to-one |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["sets"]:
        cells = (
            row["name"],
            row["right"],
            f"{row['examples']}",
            f"{row['one_by_one_per_second']:.0f}",
            f"{row['together_per_second']:.0f}",
            f"{row['one_by_one_cpu_ms']:.3f}",
            f"{row['together_cpu_ms']:.3f}",
            f"{row['ends_ms'] + row['chunks_ms']:.4f}",
            f"{row['tensors_ms']:.4f}",
            f"{row['one_to_one']:.1%}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def padding_table(result: dict[str, Any]) -> str:
    lines = [
        "| Data | Right | Batch | Shuffled | As drawn | Two pools |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["sets"]:
        for found in row["padding"]:
            parts = [
                " / ".join(f"{part:.1%}" for part in found[key])
                for key in ("shuffled", "drawn", "two_pools")
            ]
            cells = (row["name"], row["right"], str(found["batch"]), *parts)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
