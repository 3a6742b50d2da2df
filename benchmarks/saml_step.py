"""What a step of mutual learning costs beside two plain cross-entropy steps of the same models.

    python benchmarks/saml_step.py --repeats 20 --output saml_step.json
    python benchmarks/saml_step.py --text "$COPLMS_DATA/corpus/wikitext2_valid_test.jsonl.gz"

A step is forward and backward, without the optimiser, whose cost is the same for both. The two
kinds of steps alternate in one process on the same texts, so that whatever else the machine does
touches both; ratios are those of medians. CPU seconds are those of this process alone.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measuring import alternate, describe_machine, median, peak_bytes, timing
from transformers import PreTrainedTokenizerFast

from coplms.alignment.places import align
from coplms.config.model import ZooModelConfig
from coplms.consortium.members import pair_learners
from coplms.data.example import Example
from coplms.data.text import read_text
from coplms.losses.mutual import Exchange, Side, mutual_loss
from coplms.losses.rows import token_nll
from coplms.models.adapters import adapter_parameters, add_adapter, base_parameters, set_trainable
from coplms.models.language_model import LanguageModel
from coplms.models.zoo_networks import build_network
from coplms.models.zoo_tokenizers import train_tokenizer
from coplms.training.batches import collate
from coplms.training.encoding import EncodedExample, Encoder
from coplms.training.learner import Learner
from coplms.training.saml import Pairing, mutual_step
from coplms.training.sft import sft_step

MAX_CHARACTERS = 3_000_000
"""Text beyond this is not read: the tokenizers do not change much any more."""


@dataclass(frozen=True)
class Shape:
    """Texts of a batch, and tokens of each for the left model, prompt and EOS included."""

    samples: int
    tokens: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        samples, tokens = text.lower().split("x")
        return cls(int(samples), int(tokens))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    texts = read_some(options.text, options.characters)
    pairing = make_pairing(options, texts)
    result = {
        "machine": describe_machine(),
        "left": describe_model(pairing.left, pairing.num_classes),
        "right": describe_model(pairing.right, pairing.num_classes),
        "tuning": options.tuning,
        "gate": options.gate,
        "shapes": [measure(pairing, texts, shape, options) for shape in options.shape],
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", nargs="+", default=["demo"], help="files to make texts of")
    parser.add_argument("--characters", type=int, default=MAX_CHARACTERS)
    parser.add_argument(
        "--shape", nargs="+", type=Shape.parse, default=[Shape(8, 256), Shape(16, 48)]
    )
    parser.add_argument("--vocab", nargs=2, type=int, default=[4096, 8192])
    parser.add_argument("--hidden", nargs=2, type=int, default=[192, 128])
    parser.add_argument("--layers", nargs=2, type=int, default=[3, 3])
    parser.add_argument("--tuning", choices=["full", "lora"], default="full")
    parser.add_argument("--gate", choices=["none", "sample", "chunk"], default="sample")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


# Models and texts --------------------------------------------------------------------------


def read_some(paths: Sequence[str], most: int) -> list[str]:
    texts, length = [], 0
    for text in read_text(paths):
        texts.append(text)
        length += len(text)
        if length >= most:
            break
    return texts


def make_pairing(options: argparse.Namespace, texts: Sequence[str]) -> Pairing:
    """A Llama-like DPM and a GPT-NeoX-like SLM, random, with tokenizers of different kinds."""
    kinds = (("dpm", "llama", "byte_bpe"), ("slm", "gpt_neox", "fallback_bpe"))
    learners = []
    for side, (name, architecture, tokenizer) in enumerate(kinds):
        recipe = ZooModelConfig(
            name=name,
            architecture=architecture,
            tokenizer=tokenizer,
            vocab_size=options.vocab[side],
            hidden_size=options.hidden[side],
            layers=options.layers[side],
        )
        trained = train_tokenizer(tokenizer, recipe.vocab_size, texts)
        learners.append(make_learner(recipe, trained, options.tuning))
    return pair_learners(*learners, cache=None)


def make_learner(
    recipe: ZooModelConfig, tokenizer: PreTrainedTokenizerFast, tuning: str
) -> Learner:
    network = build_network(recipe, tokenizer, seed=0)
    model = LanguageModel(recipe.name, network, tokenizer, path="")
    if tuning == "lora":
        add_adapter(model, "own", 16, 32.0, 0.0, (), seed=0)
        set_trainable(model, adapter_parameters(model, "own").values())
    else:
        set_trainable(model, base_parameters(model).values())
    return Learner(model, Encoder(model, "{input}", max_length=1024))


def make_views(
    pairing: Pairing, texts: Sequence[str], shape: Shape
) -> tuple[list[EncodedExample], list[EncodedExample]]:
    """Texts of `shape` for both models; all but a short prompt is answer."""
    tokenizer = pairing.left.model.tokenizer
    prompt = Example("", "Go on:", (), "", "", "benchmark")
    room = shape.tokens - len(pairing.left.encoder.prompt(prompt, 8)) - 2  # EOS, and a first space
    running = " ".join(" ".join(texts).split()[: shape.samples * shape.tokens * 2])
    offsets = tokenizer(running, return_offsets_mapping=True, add_special_tokens=False)[
        "offset_mapping"
    ]
    if len(offsets) < shape.samples * room:
        raise SystemExit(
            f"the text has {len(offsets)} tokens, too few for {shape}: give more --text"
        )
    examples = []
    for start in range(0, shape.samples * room, room):
        first, last = offsets[start][0], offsets[start + room - 1][1]
        examples.append(replace(prompt, references=(running[first:last].strip(),)))
    return pairing.left.encoder(examples), pairing.right.encoder(examples)


# Measuring ---------------------------------------------------------------------------------


def measure(
    pairing: Pairing, texts: Sequence[str], shape: Shape, options: argparse.Namespace
) -> dict[str, Any]:
    views = make_views(pairing, texts, shape)
    exchange = Exchange(weight=1.0, gate=options.gate)

    def two_cross_entropies() -> None:
        for learner, view in zip((pairing.left, pairing.right), views, strict=True):
            sft_step(learner, view).total.backward()
        clear(pairing)

    def saml() -> None:
        mutual_step(pairing, views, exchange).total.backward()
        clear(pairing)

    times = alternate([two_cross_entropies, saml], options.repeats, options.warm_up)
    num_tokens = sum(len(example) for view in views for example in view)
    return {
        "samples": shape.samples,
        "tokens": [max(len(example) for example in view) for view in views],
        "repeats": options.repeats,
        "cross_entropy": {
            **timing(times[0], num_tokens),
            "peak_bytes": peak_bytes(two_cross_entropies),
        },
        "saml": {**timing(times[1], num_tokens), "peak_bytes": peak_bytes(saml)},
        "time_ratio": median(times[1]) / median(times[0]),
        "cpu_time_ratio": median(times[1], cpu=True) / median(times[0], cpu=True),
        "loss_only": measure_losses(pairing, views, exchange, options),
    }


def measure_losses(
    pairing: Pairing,
    views: tuple[list[EncodedExample], list[EncodedExample]],
    exchange: Exchange,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Losses and their gradients with respect to given logits: no model runs."""
    device = torch.device("cpu")
    left, right = collate(views[0], 0, device), collate(views[1], 0, device)
    chunks = align(left.ends, left.samples, right.ends, right.samples)
    sides = []
    for batch, classes, foreign, first, count in (
        (left, pairing.left_classes, pairing.left_foreign, chunks.left_first, chunks.left_count),
        (
            right,
            pairing.right_classes,
            pairing.right_foreign,
            chunks.right_first,
            chunks.right_count,
        ),
    ):
        logits = torch.randn(len(batch.targets), len(classes), requires_grad=True)
        rows = (torch.from_numpy(first), torch.from_numpy(count))
        sides.append(Side(logits, batch.targets, classes, *rows, foreign))
    samples = torch.from_numpy(chunks.sample)

    def two_cross_entropies() -> None:
        for side in sides:
            token_nll(side.logits, side.targets).mean().backward()
            side.logits.grad = None

    def saml() -> None:
        loss = mutual_loss(*sides, samples, pairing.num_classes, exchange)
        (loss.left + loss.right).backward()
        for side in sides:
            side.logits.grad = None

    times = alternate([two_cross_entropies, saml], options.repeats, options.warm_up)
    return {
        "logits_bytes": sum(side.logits.numel() * side.logits.element_size() for side in sides),
        "chunks": len(samples),
        "one_to_one": float(((sides[0].count == 1) & (sides[1].count == 1)).float().mean()),
        "cross_entropy_cpu_seconds": median(times[0], cpu=True),
        "saml_cpu_seconds": median(times[1], cpu=True),
        "cross_entropy_peak_bytes": peak_bytes(two_cross_entropies),
        "saml_peak_bytes": peak_bytes(saml),
    }


def clear(pairing: Pairing) -> None:
    for learner in (pairing.left, pairing.right):
        learner.model.network.zero_grad(set_to_none=True)


# Describing --------------------------------------------------------------------------------


def describe_model(learner: Learner, num_classes: int) -> dict[str, object]:
    network = learner.model.network
    return {
        "architecture": network.config.model_type,
        "vocabulary": network.get_output_embeddings().weight.shape[0],
        "common_classes": num_classes,
        "hidden_size": network.config.hidden_size,
        "layers": network.config.num_hidden_layers,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def as_table(result: dict[str, Any]) -> str:
    machine, left, right = result["machine"], result["left"], result["right"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, "
        f"torch {machine['torch']}, load {machine['load_average']}; {result['tuning']} tuning; "
        f"vocabularies {left['vocabulary']} / {right['vocabulary']}, "
        f"{left['common_classes']} classes",
        "",
        "| Batch | | Two CE steps | SAML step | Ratio |",
        "|---|---|---|---|---|",
    ]
    for shape in result["shapes"]:
        plain, mutual, loss = shape["cross_entropy"], shape["saml"], shape["loss_only"]
        batch = f"{shape['samples']} x {shape['tokens'][0]} / {shape['tokens'][1]}"
        rows = [
            ("seconds", plain["median_seconds"], mutual["median_seconds"], "{:.3f}"),
            ("CPU s", plain["median_cpu_seconds"], mutual["median_cpu_seconds"], "{:.3f}"),
            ("tokens/s", plain["tokens_per_second"], mutual["tokens_per_second"], "{:.0f}"),
            ("peak MB", plain["peak_bytes"] / 1e6, mutual["peak_bytes"] / 1e6, "{:.1f}"),
            ("loss, CPU s", loss["cross_entropy_cpu_seconds"], loss["saml_cpu_seconds"], "{:.3f}"),
            (
                f"loss, peak MB (logits {loss['logits_bytes'] / 1e6:.1f})",
                loss["cross_entropy_peak_bytes"] / 1e6,
                loss["saml_peak_bytes"] / 1e6,
                "{:.1f}",
            ),
        ]
        for name, before, after, form in rows:
            cells = (batch, name, form.format(before), form.format(after), f"{after / before:.2f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
