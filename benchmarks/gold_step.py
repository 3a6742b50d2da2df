"""What mutual learning adds to cross-entropy, beside what TRL's GOLD adds.

    python benchmarks/gold_step.py --text "$COPLMS_DATA/corpus/wikitext2_valid_test.jsonl.gz"

Needs TRL; without it the script says how to make an environment that has it. Same models, same
batches, byte-level tokenizers (GOLD takes no others), one process, one thread.

The loss side of a step is all from hidden states to their gradients: the models' bodies are
replaced by the states that they once gave. What SAML adds is the loss side of `mutual_step`,
collating and aligning included, less that of two cross-entropy steps. What GOLD adds is its
distillation loss and the gradient with respect to the student's logits, all logits given: neither
the heads nor cross-entropy count against it. GOLD teaches one way; both ways are two calls.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from bench_models import add_model_options, clear, describe_model, make_pairing, make_views
from bench_texts import Shape, read_some
from gold.loss import VARIANTS, GoldLoss, Sequences, all_logits, require_trl, sequences
from measuring import Times, Work, alternate, describe_machine, median, peak_bytes
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from coplms.losses.mutual import Exchange
from coplms.training.batches import collate
from coplms.training.encoding import EncodedExample
from coplms.training.learner import Learner
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import align_pairs
from coplms.training.saml import mutual_step
from coplms.training.sft import sft_step

Views = tuple[list[EncodedExample], list[EncodedExample]]

CURVE = ("16x128", "8x256", "4x512", "2x1024", "1x2048")
"""As many tokens in every batch: what grows along the curve grows with the length of a text."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    version = require_trl()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    texts = read_some(options.text, options.characters)
    pairing = make_pairing(options, texts, ("byte_bpe", "byte_bpe"))
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "trl": version,
        "left": describe_model(pairing.left, pairing.num_classes),
        "right": describe_model(pairing.right, pairing.num_classes),
        "gate": options.gate,
        "gold_losses": learn_all(pairing, make_views(pairing, texts, options.shape[0])),
        "shapes": [],
    }
    for shape in options.shape:
        result["shapes"].append(measure(pairing, make_views(pairing, texts, shape), options))
        if options.output:
            options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_options(parser)
    parser.add_argument(
        "--shape", nargs="+", type=Shape.parse, default=[Shape.parse(text) for text in CURVE]
    )
    parser.add_argument("--gate", choices=["none", "sample", "chunk"], default="sample")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--gold-repeats", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


def measure(pairing: Pairing, views: Views, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "samples": len(views[0]),
        "tokens": [max(len(example) for example in view) for view in views],
        "saml": measure_saml(pairing, views, options),
        **{
            variant: measure_gold(pairing, views, is_hybrid, options)
            for variant, is_hybrid in VARIANTS.items()
        },
    }


# SAML ---------------------------------------------------------------------------------------


def measure_saml(pairing: Pairing, views: Views, options: argparse.Namespace) -> dict[str, Any]:
    exchange = Exchange(weight=1.0, gate=options.gate)

    def two_cross_entropies() -> None:
        for learner, view in zip((pairing.left, pairing.right), views, strict=True):
            sft_step(learner, view).total.backward()
        clear(pairing)

    def saml() -> None:
        mutual_step(pairing, align_pairs(*views), exchange).total.backward()
        clear(pairing)

    works = [two_cross_entropies, saml]
    whole = alternate(works, options.repeats, options.warm_up)
    with stored_states(pairing, [read_by_ours(pairing, views, side) for side in (0, 1)]):
        loss_side = alternate(works, options.repeats, options.warm_up)
        peaks = [peak_bytes(work) for work in works]
    return {
        "step_cpu_seconds": [median(times, cpu=True) for times in whole],
        "step_extra_cpu_seconds": extra(*whole),
        "cpu_seconds": [median(times, cpu=True) for times in loss_side],
        "extra_cpu_seconds": extra(*loss_side),
        "cross_entropy_peak_bytes": peaks[0],
        "peak_bytes": peaks[1],
    }


def extra(plain: Times, mutual: Times) -> float:
    """Median of what a repeat took longer than the plain one just before it."""
    return median([(0, b[1] - a[1]) for a, b in zip(plain, mutual, strict=True)], cpu=True)


def read_by_ours(pairing: Pairing, views: Views, side: int) -> tuple[Tensor, Tensor]:
    learner = (pairing.left, pairing.right)[side]
    batch = collate(views[side], learner.pad, learner.model.device)
    return batch.input_ids, batch.attention_mask


# GOLD ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Direction:
    """Who learns from whom."""

    student: Learner
    teacher: Learner
    student_texts: Sequences
    teacher_texts: Sequences

    @classmethod
    def both(cls, pairing: Pairing, views: Views) -> "tuple[Direction, Direction]":
        left, right = sequences(pairing.left, views[0]), sequences(pairing.right, views[1])
        return (
            cls(pairing.right, pairing.left, right, left),
            cls(pairing.left, pairing.right, left, right),
        )

    def loss(self, *, is_hybrid: bool, cross_entropy: float) -> GoldLoss:
        models = (self.student.model, self.teacher.model)
        return GoldLoss(*models, is_hybrid=is_hybrid, cross_entropy=cross_entropy)


def measure_gold(
    pairing: Pairing, views: Views, is_hybrid: bool, options: argparse.Namespace
) -> dict[str, Any]:
    directions = Direction.both(pairing, views)
    works = [given_logits(each, is_hybrid) for each in directions]
    times = alternate(works, options.gold_repeats, warm_up=0)
    seconds = [median(each, cpu=True) for each in times]
    peaks = [peak_of(pairing, each, is_hybrid) for each in directions]
    return {
        "student": ["right", "left"],
        "one_way_cpu_seconds": min(seconds),
        "both_ways_cpu_seconds": sum(seconds),
        "each_way_cpu_seconds": seconds,
        "each_way_peak_bytes": peaks,
        "one_way_peak_bytes": min(peaks),
    }


def given_logits(direction: Direction, is_hybrid: bool) -> Work:
    """The distillation loss alone, and its gradient with respect to the student's logits."""
    loss = direction.loss(is_hybrid=is_hybrid, cross_entropy=0.0)
    student, teacher = logits_of(direction)

    def work() -> None:
        loss(student, teacher, direction.student_texts, direction.teacher_texts).backward()
        student.grad = None
        loss.forget()

    return work


@torch.no_grad()
def logits_of(direction: Direction) -> tuple[Tensor, Tensor]:
    student = all_logits(direction.student.model, direction.student_texts)
    teacher = all_logits(direction.teacher.model, direction.teacher_texts)
    return student.requires_grad_(), teacher


def peak_of(pairing: Pairing, direction: Direction, is_hybrid: bool) -> int:
    """Of the student's loss side: both heads, cross-entropy and distillation, one way."""
    loss = direction.loss(is_hybrid=is_hybrid, cross_entropy=1.0)
    texts = {direction.student: direction.student_texts, direction.teacher: direction.teacher_texts}
    inputs = [(texts[each].ids, texts[each].mask) for each in (pairing.left, pairing.right)]

    def work() -> None:
        student = all_logits(direction.student.model, direction.student_texts)
        with torch.no_grad():
            teacher = all_logits(direction.teacher.model, direction.teacher_texts)
        loss(student, teacher, direction.student_texts, direction.teacher_texts).backward()
        loss.forget()
        clear(pairing)

    with stored_states(pairing, inputs):
        return peak_bytes(work)


def learn_all(pairing: Pairing, views: Views) -> dict[str, list[float]]:
    """GOLD's losses in a few optimiser steps; ends the program unless they fall."""
    direction = Direction.both(pairing, views)[0]
    losses = {name: learn(direction, is_hybrid, 3) for name, is_hybrid in VARIANTS.items()}
    for name, values in losses.items():
        if not all(later < before for before, later in pairwise(values)):
            raise SystemExit(f"GOLD's {name} loss does not fall: {values}. It is not used rightly")
    return losses


def learn(direction: Direction, is_hybrid: bool, steps: int) -> list[float]:
    """The loss before each step; the student's logits are what is optimised."""
    loss = direction.loss(is_hybrid=is_hybrid, cross_entropy=0.0)
    student, teacher = logits_of(direction)
    optimizer = torch.optim.Adam([student], lr=0.1)
    values = []
    for _ in range(steps):
        value = loss(student, teacher, direction.student_texts, direction.teacher_texts)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return values


# The bodies' output, stored -------------------------------------------------------------------


@contextmanager
def stored_states(pairing: Pairing, inputs: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """The models' bodies give what they give for `inputs`, at no cost, whatever they read.

    The stored states take gradients, which nobody keeps.
    """
    bodies = [learner.model.network.base_model for learner in (pairing.left, pairing.right)]
    for body, (ids, mask) in zip(bodies, inputs, strict=True):
        with torch.no_grad():
            states = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        body.forward = giving(states)
    try:
        yield
    finally:
        for body in bodies:
            del body.forward


def giving(states: Tensor) -> Callable[..., BaseModelOutputWithPast]:
    def forward(*_: object, **__: object) -> BaseModelOutputWithPast:
        # a leaf of its own for every pass, so that gradients of passes do not add up
        return BaseModelOutputWithPast(last_hidden_state=states.detach().requires_grad_())

    return forward


# Describing -----------------------------------------------------------------------------------


def as_table(result: dict[str, Any]) -> str:
    machine, left, right = result["machine"], result["left"], result["right"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, "
        f"torch {machine['torch']}, TRL {result['trl']}, load {machine['load_average']}; "
        f"vocabularies {left['vocabulary']} / {right['vocabulary']}, "
        f"{left['common_classes']} classes; gate {result['gate']}",
        "",
        "| Batch | | SAML, both ways | GOLD, one way | Ratio | GOLD, both ways | Ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in result["shapes"]:
        batch = f"{shape['samples']} x {shape['tokens'][0]} / {shape['tokens'][1]}"
        ours = shape["saml"]
        for variant in VARIANTS:
            lines.append(f"| {batch} | {row_of_times(variant, ours, shape[variant])} |")
        for variant in VARIANTS:
            lines.append(f"| {batch} | {row_of_peaks(variant, ours, shape[variant])} |")
        lines.append(
            f"| {batch} | whole step: extra CPU s | {ours['step_extra_cpu_seconds']:.3f} | | | | |"
        )
    return "\n".join(lines)


def row_of_times(variant: str, ours: dict[str, Any], gold: dict[str, Any]) -> str:
    added, one, both = (
        ours["extra_cpu_seconds"],
        gold["one_way_cpu_seconds"],
        gold["both_ways_cpu_seconds"],
    )
    cells = (f"{variant}: extra CPU s", f"{added:.4f}", f"{one:.3f}", ratio(one, added))
    return " | ".join((*cells, f"{both:.3f}", ratio(both, added)))


def row_of_peaks(variant: str, ours: dict[str, Any], gold: dict[str, Any]) -> str:
    peak, other = ours["peak_bytes"], gold["one_way_peak_bytes"]
    cells = (f"{variant}: loss side, peak MB", f"{peak / 1e6:.1f}", f"{other / 1e6:.1f}")
    return " | ".join((*cells, ratio(other, peak), "", ""))


def ratio(theirs: float, ours: float) -> str:
    """How many times as much theirs is."""
    return f"{theirs / ours:.1f}" if ours > 0 else "SAML adds nothing"


if __name__ == "__main__":
    main()
