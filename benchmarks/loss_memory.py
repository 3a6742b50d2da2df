"""What the loss alone holds and takes, for given hidden states: no network runs.

    python benchmarks/loss_memory.py --rows 1024 2048 4096
    python benchmarks/loss_memory.py --vocab 151936 32000 --classes 26343 --rows 1024

Two random heads, with class maps and chunks of the proportions that real pairs have. "peak" counts
the tensors alive at a time beyond hidden states and heads (10^6 bytes), gradients included.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import alternate, describe_machine, median, peak_bytes
from torch import Tensor

from coplms.losses.fold import Fold
from coplms.losses.fused_mutual import fused_mutual_loss
from coplms.losses.fused_side import FusedSide
from coplms.losses.head import Head, Rows
from coplms.losses.mutual import Exchange, Side, mutual_loss
from coplms.losses.plan import WIDEST_ON_CPU, BlockSizes, in_blocks, plan_groups
from coplms.losses.rows import token_nll

ONE_TO_ONE = 0.88
"""Part of the chunks with one token on both sides, as seen on real pairs."""


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    results = [measure(rows, options) for rows in options.rows]
    if options.output:
        content = {"machine": describe_machine(), "options": vars(options), "rows": results}
        options.output.write_text(json.dumps(content, indent=2, default=str) + "\n")
    print(as_table(results, options))


def measure(num_rows: int, options: argparse.Namespace) -> dict[str, Any]:
    first, count = _chunks(num_rows)
    samples = torch.arange(len(first)) * options.samples // len(first)
    maps = [_classes(size, options.classes) for size in options.vocab]
    rows = [
        _rows(num_rows, *sizes, options)
        for sizes in zip(options.vocab, options.hidden, strict=True)
    ]
    exchange = Exchange(1.0, gate=options.gate)
    num_bytes = options.memory_mib * 2**20
    sizes = BlockSizes.within(num_bytes, tuple(options.vocab), options.classes, 4, WIDEST_ON_CPU)
    begins = torch.zeros(num_rows, dtype=torch.bool)
    begins[first] = True
    others = in_blocks((~begins).nonzero().flatten(), sizes.width)
    folds = [Fold.of(classes, options.classes) for classes in maps]
    groups = plan_groups(samples.numpy(), options.gate, sizes)

    def two_cross_entropies() -> None:
        for side in rows:
            token_nll(side.logits(), side.targets).mean().backward()
        _clear(rows)

    def plain() -> None:
        sides = [
            Side(side.logits(), side.targets, classes, first, count)
            for side, classes in zip(rows, maps, strict=True)
        ]
        loss = mutual_loss(*sides, samples, options.classes, exchange)
        (loss.left + loss.right).backward()
        _clear(rows)

    def fused() -> None:
        sides = [
            FusedSide(side, first, count, others, fold)
            for side, fold in zip(rows, folds, strict=True)
        ]
        loss = fused_mutual_loss(*sides, samples, groups, exchange)
        (loss.left + loss.right).backward()
        _clear(rows)

    works: dict[str, Callable[[], None]] = {
        "two CEs": two_cross_entropies,
        "SAML, plain": plain,
        "SAML, fused": fused,
    }
    times = alternate(list(works.values()), options.repeats, 1)
    return {
        "rows": num_rows,
        "logits_bytes": num_rows * max(options.vocab) * 4,
        "block": sizes.width,
        "held": groups[0].is_held,
        "cpu_seconds": {n: median(t, cpu=True) for n, t in zip(works, times, strict=True)},
        "peak_bytes": {name: peak_bytes(work) for name, work in works.items()},
    }


def _chunks(num_rows: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng(0)
    counts = np.where(generator.random(num_rows) < ONE_TO_ONE, 1, 2)
    ends = np.cumsum(counts)
    kept = int(np.searchsorted(ends, num_rows, side="right"))
    counts, ends = counts[:kept], ends[:kept]
    return torch.from_numpy(ends - counts), torch.from_numpy(counts)


def _classes(vocab_size: int, num_classes: int) -> Tensor:
    rest = torch.randint(num_classes, (vocab_size - num_classes,))
    return torch.cat([torch.arange(num_classes), rest])[torch.randperm(vocab_size)]


def _rows(num_rows: int, vocab_size: int, hidden: int, options: argparse.Namespace) -> Rows:
    weight = torch.randn(vocab_size, hidden) / hidden**0.5
    weight.requires_grad_(options.train_head)
    inputs = torch.randn(num_rows, hidden, requires_grad=True)
    return Rows((inputs,), Head((weight,)), torch.randint(vocab_size, (num_rows,)))


def _clear(rows: list[Rows]) -> None:
    for side in rows:
        for tensor in side.tensors():
            tensor.grad = None


def as_table(results: list[dict[str, Any]], options: argparse.Namespace) -> str:
    machine = describe_machine()
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, torch "
        f"{machine['torch']}; vocabularies {options.vocab}, {options.classes} classes, hidden "
        f"{options.hidden}, heads {'trained' if options.train_head else 'frozen'}, gate "
        f"{options.gate}, {options.memory_mib} MiB for blocks",
        "",
        "| Rows | one float32 logits tensor, MB | | CPU s | peak MB | of one logits tensor |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for name, seconds in result["cpu_seconds"].items():
            peak, whole = result["peak_bytes"][name], result["logits_bytes"]
            lines.append(
                f"| {result['rows']} | {whole / 1e6:.1f} | {name} | {seconds:.3f} | "
                f"{peak / 1e6:.1f} | {peak / whole:.2f} |"
            )
    return "\n".join(lines)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[1024, 2048, 4096])
    parser.add_argument("--samples", type=int, default=8, help="texts that the rows are of")
    parser.add_argument("--vocab", nargs=2, type=int, default=[32_000, 32_000])
    parser.add_argument("--classes", type=int, default=26_000)
    parser.add_argument("--hidden", nargs=2, type=int, default=[256, 256])
    parser.add_argument("--gate", choices=["none", "sample", "chunk"], default="sample")
    parser.add_argument("--memory-mib", type=int, default=32)
    parser.add_argument("--train-head", action="store_true", help="else as with LoRA")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
