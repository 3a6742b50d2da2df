"""What a message costs in each form, in bytes and seconds, and how exact it is.

    python benchmarks/packing.py

Packed are LoRA weights of all linear layers of Llama-like models, moved from a reference by random
changes whose size differs from tensor to tensor. Packing is `Sender.pack` with its feedback, what
the lossy forms need of it included; unpacking is `receive`. The forms take turns in one process;
times are CPU time, medians over the repeats, per 100 MB of tensors. The error is that of a first
message: the length of what the change lost beside the length of the change.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from measuring import alternate, describe_machine, median, peak_bytes
from torch import Tensor

from coplms.transport.feedback import Sender, receive
from coplms.transport.packing import Form, layout_of

FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Model:
    """Sizes of a Llama-like model, as far as LoRA's shapes depend on them."""

    layers: int
    hidden: int
    intermediate: int
    keys: int
    """Width of keys and of values, over all their heads."""

    def linears(self) -> dict[str, tuple[int, int]]:
        """Name -> inputs and outputs of a layer's linear layers."""
        return {
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (self.hidden, self.keys),
            "self_attn.v_proj": (self.hidden, self.keys),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.hidden, self.intermediate),
            "mlp.up_proj": (self.hidden, self.intermediate),
            "mlp.down_proj": (self.intermediate, self.hidden),
        }

    def lora_shapes(self, rank: int) -> dict[str, tuple[int, int]]:
        shapes = {}
        for layer in range(self.layers):
            for name, (inputs, outputs) in self.linears().items():
                prefix = f"model.layers.{layer}.{name}"
                shapes[f"{prefix}.lora_A.weight"] = (rank, inputs)
                shapes[f"{prefix}.lora_B.weight"] = (outputs, rank)
        return shapes


MODELS = {
    "mini": Model(layers=2, hidden=192, intermediate=512, keys=192),
    "1.1b": Model(layers=22, hidden=2048, intermediate=5632, keys=256),  # TinyLlama-1.1B
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    result = {
        "machine": describe_machine(),
        "rank": options.rank,
        "block": options.block,
        "seed": options.seed,
        "rows": [row for name in options.models for row in measure(name, options)],
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--block", type=int, default=64, help="values that share a scale in int8")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per form."""
    reference, values = make_values(MODELS[name].lora_shapes(options.rank), options.seed)
    senders = [Sender("up", layout_of(values, form, options.block)) for form in FORMS]
    errors = [first_error(sender, values, reference) for sender in senders]
    packs = [packing(sender, values, reference) for sender in senders]
    unpacks = [unpacking(sender, reference) for sender in senders]
    times = alternate([*packs, *unpacks], options.repeats, warm_up=1)
    rows = []
    for index, sender in enumerate(senders):
        layout = sender.layout
        hundred_mb = layout.tensor_bytes / 100e6
        rows.append(
            {
                "model": name,
                "form": layout.form,
                "values": sum(layout.sizes),
                "tensor_bytes": layout.tensor_bytes,
                "packed_bytes": layout.packed_bytes,
                "pack_seconds": median(times[index], cpu=True) / hundred_mb,
                "unpack_seconds": median(times[len(FORMS) + index], cpu=True) / hundred_mb,
                "pack_peak_bytes": peak_bytes(packs[index]),
                "unpack_peak_bytes": peak_bytes(unpacks[index]),
                "relative_error": errors[index],
            }
        )
    return rows


def make_values(
    shapes: dict[str, tuple[int, int]], seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A reference, and values some steps of training away from it."""
    generator = torch.Generator().manual_seed(seed)
    reference, values = {}, {}
    for name, shape in shapes.items():
        reference[name] = 0.02 * torch.randn(shape, generator=generator)
        size = 1e-3 * torch.randn((), generator=generator).exp()
        values[name] = reference[name] + size * torch.randn(shape, generator=generator)
    return reference, values


def first_error(sender: Sender, values: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
    back = receive(sender.pack(values, reference), sender.layout, reference)
    lost = sum(float((values[name] - back[name]).double().square().sum()) for name in values)
    sent = sum(float((values[name] - reference[name]).double().square().sum()) for name in values)
    return float((lost / sent) ** 0.5)


def packing(
    sender: Sender, values: dict[str, Tensor], reference: dict[str, Tensor]
) -> Callable[[], object]:
    return lambda: sender.pack(values, reference)


def unpacking(sender: Sender, reference: dict[str, Tensor]) -> Callable[[], object]:
    def unpack() -> object:
        assert sender.packed is not None
        return receive(sender.packed, sender.layout, reference)

    return unpack


def as_table(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, load "
        f"{machine['load_average']}, torch {machine['torch']}; LoRA of rank {result['rank']}, "
        f"float32; blocks of {result['block']}; seed {result['seed']}",
        "",
        "| Model | Values | Form | Bytes sent | Of tensors | Pack, s per 100 MB "
        "| Unpack, s per 100 MB | Peak memory, of tensors | Error of a message |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        share = row["packed_bytes"] / row["tensor_bytes"]
        peaks = [row[f"{work}_peak_bytes"] / row["tensor_bytes"] for work in ("pack", "unpack")]
        lines.append(
            f"| {row['model']} | {row['values']:,} | {row['form']} | {row['packed_bytes']:,} "
            f"| {100 * share:.1f} % | {row['pack_seconds']:.3f} | {row['unpack_seconds']:.3f} "
            f"| {peaks[0]:.1f} / {peaks[1]:.1f} | {100 * row['relative_error']:.3f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
