"""Your own models and files: a configuration made in Python, then checked and trained.

    python examples/own_models.py --llm models/large --public data/public.jsonl \
        --transfer data/questions.jsonl \
        --device law models/legal-small data/law.jsonl \
        --device clinic organisation/medical-small data/clinic.jsonl

Models are folders in Hugging Face format or hub names, of any architecture and with any fast
tokenizer. A file holds one JSON object per line: `input` (and `instruction`), `output`, and
`domain`, which scores are broken down by. A tenth of each file is set aside for testing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from coplms import Consortium
from coplms.config.load import dump_config
from coplms.config.run import RunConfig
from coplms.data.members import load_data


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    config = RunConfig.model_validate(
        {
            "llm": {"model": options.llm},
            # No `dpm:` section: the proxy is made of every second layer of the LLM.
            "devices": [
                {"name": name, "slm": {"model": model}, "data": {"train": {"path": path}}}
                for name, model, path in options.device
            ],
            "data": {
                # The server's own labelled text; the devices may see it, and train on it.
                "server": {"train": {"path": options.public}},
                # Public inputs without answers: the proxy answers them in the end, and so hands on
                # what it learnt from the devices. Little reaches the LLM without them.
                "transfer": {"path": options.transfer} if options.transfer else None,
            },
            "tuning": {"kind": "lora", "rank": 16},
            "method": {
                "rounds": 3,
                "distill": {"steps": options.steps},
                "dst": {"steps": options.steps},
                "saml": {
                    "proxy_steps": options.steps,
                    "steps": options.steps,
                    "server_steps": options.steps,
                },
                "transfer": {"steps": options.steps, "server_steps": options.steps},
            },
        }
    )

    # Reading the data shows most mistakes at once, before any model is loaded.
    data = load_data(config)
    for name, member in {"server": data.server, **data.devices}.items():
        print(f"{name}: {len(member.train)} to train on, {len(member.test)} to test on")

    # Written down, this is what `coplms train` reads.
    options.output.parent.mkdir(parents=True, exist_ok=True)
    yaml = options.output.with_suffix(".yaml")
    yaml.write_text(dump_config(config), encoding="utf-8")

    run = Consortium.from_yaml(yaml).train(options.output)
    adapters = sorted(folder.parent for folder in run.glob("adapters/*/*/adapter_config.json"))
    print("PEFT adapters:", *adapters, sep="\n  ")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", required=True, help="folder or hub name")
    parser.add_argument("--public", required=True, help="JSONL file")
    parser.add_argument("--transfer", help="JSONL file of inputs")
    parser.add_argument(
        "--device", nargs=3, action="append", required=True, metavar=("NAME", "MODEL", "FILE")
    )
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps of every phase")
    parser.add_argument("--output", type=Path, default=Path("runs/own"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
