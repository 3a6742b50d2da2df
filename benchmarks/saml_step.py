"""What a step of mutual learning costs beside two plain cross-entropy steps of the same models.

    python benchmarks/saml_step.py --repeats 20 --output saml_step.json
    python benchmarks/saml_step.py --text "$COPLMS_DATA/corpus/wikitext2_valid_test.jsonl.gz"

A step is forward and backward, without the optimiser, whose cost is the same for all. The kinds of
steps alternate in one process on the same texts, so that whatever else the machine does touches
all of them; ratios are those of medians. CPU seconds are those of this process alone.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from bench_models import add_model_options, clear, describe_model, make_pairing, make_views
from bench_texts import Shape, read_some
from measuring import alternate, describe_machine, median, peak_bytes, timing

from coplms.config.compute import ComputeConfig
from coplms.losses.mutual import Exchange
from coplms.training.pair import Pairing
from coplms.training.pair_encoding import align_pairs
from coplms.training.saml import mutual_step
from coplms.training.sft import sft_step

PLAIN = "two CEs, plain"
"""What everything is compared with: logits of all answer rows, PyTorch's cross-entropy."""

EVENT = "SAML, fused, chunk event"
"""With whole chunks as outcomes, as is the default; the first of the gates."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    texts = read_some(options.text, options.characters)
    fused, plain = (make_pairing(options, texts) for _ in range(2))
    for learner in (plain.left, plain.right):
        learner.compute = ComputeConfig(loss="plain")
    for learner in (fused.left, fused.right):
        learner.compute = ComputeConfig(loss="fused", loss_memory_mib=options.memory_mib)
    result = {
        "machine": describe_machine(),
        "left": describe_model(fused.left, fused.num_classes),
        "right": describe_model(fused.right, fused.num_classes),
        "tuning": options.tuning,
        "shapes": [measure(fused, plain, texts, shape, options) for shape in options.shape],
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(as_table(result))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_options(parser)
    parser.add_argument(
        "--shape", nargs="+", type=Shape.parse, default=[Shape(8, 256), Shape(16, 48)]
    )
    parser.add_argument("--gates", nargs="+", default=["sample", "none"])
    parser.add_argument("--memory-mib", type=int, help="for the blocks; default: the setting's")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON with every figure")
    return parser.parse_args(arguments)


def measure(
    fused: Pairing,
    plain: Pairing,
    texts: Sequence[str],
    shape: Shape,
    options: argparse.Namespace,
) -> dict[str, Any]:
    views = make_views(fused, texts, shape)
    pairs = align_pairs(*views)

    def two_cross_entropies(pairing: Pairing) -> None:
        for learner, view in zip((pairing.left, pairing.right), views, strict=True):
            sft_step(learner, view).total.backward()
        clear(pairing)

    def saml(pairing: Pairing, gate: str, *, chunk_event: bool = False) -> None:
        exchange = Exchange(1.0, gate=gate, chunk_event=chunk_event)
        mutual_step(pairing, pairs, exchange).total.backward()
        clear(pairing)

    works: dict[str, Callable[[], None]] = {
        PLAIN: lambda: two_cross_entropies(plain),
        "two CEs, fused": lambda: two_cross_entropies(fused),
    }
    for gate in options.gates:
        works[f"SAML, fused, gate {gate}"] = lambda gate=gate: saml(fused, gate)
    works[EVENT] = lambda: saml(fused, options.gates[0], chunk_event=True)
    works[f"SAML, plain, gate {options.gates[0]}"] = lambda: saml(plain, options.gates[0])
    times = alternate(list(works.values()), options.repeats, options.warm_up)
    num_tokens = sum(len(example) for view in views for example in view)
    base = median(times[0], cpu=True)
    return {
        "samples": shape.samples,
        "tokens": [max(len(example) for example in view) for view in views],
        "answer_tokens": [sum(len(example.answer) for example in view) for view in views],
        "repeats": options.repeats,
        "works": {
            name: {
                **timing(each, num_tokens),
                "cpu_ratio": median(each, cpu=True) / base,
                "peak_bytes": peak_bytes(work),
            }
            for (name, work), each in zip(works.items(), times, strict=True)
        },
    }


def as_table(result: dict[str, Any]) -> str:
    machine, left, right = result["machine"], result["left"], result["right"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, "
        f"torch {machine['torch']}, load {machine['load_average']}; {result['tuning']} tuning; "
        f"hidden {left['hidden_size']} / {right['hidden_size']}, layers {left['layers']} / "
        f"{right['layers']}, vocabularies {left['vocabulary']} / {right['vocabulary']}, "
        f"{left['common_classes']} classes",
        "",
        "| Batch | | CPU s | of plain CEs | tokens/s | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for shape in result["shapes"]:
        batch = f"{shape['samples']} x {shape['tokens'][0]} / {shape['tokens'][1]}"
        for name, figures in shape["works"].items():
            lines.append(
                f"| {batch} | {name} | {figures['median_cpu_seconds']:.3f} | "
                f"{figures['cpu_ratio']:.2f} | {figures['tokens_per_second']:.0f} | "
                f"{figures['peak_bytes'] / 1e6:.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
