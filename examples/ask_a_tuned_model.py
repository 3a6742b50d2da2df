"""Ask a model that `coplms train` has tuned.

    python examples/ask_a_tuned_model.py runs/quickstart hospital "how long do eggs take to boil"

What a run leaves is ordinary: Hugging Face folders under `models/MEMBER/` for whole models, PEFT
folders under `adapters/MEMBER/` for LoRA. `load_tuned` only finds the right one and its base model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from coplms import load_config, load_tuned
from coplms.api.ask import ask


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("member", help="`server`, or a device's name")
    parser.add_argument("question")
    parser.add_argument("--instruction", default="Name the intent of the request.")
    parser.add_argument("--model", help="`llm`, `slm` or `dpm`; absent: the member's own")
    options = parser.parse_args(arguments)

    model = load_tuned(options.run, options.member, options.model)
    # The prompt must look as it did in training: same instruction, same template.
    config = load_config(options.run / "config.yaml")
    answer = ask(
        model,
        options.instruction,
        options.question,
        config.data.template,
        config.data.max_length,
        config.evaluation.max_new_tokens,
    )
    print(answer)


if __name__ == "__main__":
    main()
