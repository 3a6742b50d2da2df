"""`coplms evaluate`: scores of a saved model, or of a run's tuned one."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from coplms.cli.console import begin_heavy_work, print_line
from coplms.cli.options import DataRoot, Member, Model, use_data_root
from coplms.errors import ConfigError

if TYPE_CHECKING:
    from coplms.config.data import DataConfig
    from coplms.config.training import EvaluationConfig
    from coplms.data.example import Example
    from coplms.evaluation.evaluate import Evaluation
    from coplms.evaluation.score import Prediction
    from coplms.models.language_model import LanguageModel


@dataclass(frozen=True)
class Asking:
    """How examples are put to a model: settings of `data:` and `evaluation:` of a configuration."""

    template: str
    max_length: int
    max_new_tokens: int
    batch_size: int


def evaluate(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model's folder or hub name, or a run.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File, folder or pattern of examples.",
            show_default="the run's test set",
        ),
    ] = None,
    data_format: Annotated[
        Literal["jsonl", "sni", "mmlu"], typer.Option("--format", help="Of --data.")
    ] = "jsonl",
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="LoRA adapter as PEFT saves it, merged on load.", show_default=False
        ),
    ] = None,
    device: Member = None,
    model: Model = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.jsonl",
            help="Write the answers too, for `coplms score`.",
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=8, help="Tokens of prompt and answer.", show_default="the run's, or 256"),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer.", show_default="the run's, or 48"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Answers at a time.", show_default="the run's, or 64"),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="Prompt with {instruction} and {input}; \\n is a line break.",
            show_default="the run's, or the configuration's default",
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Print a model's scores on examples as JSON, in percent.

    MODEL is a folder in Hugging Face format, a hub name, or the folder of a run: then --device
    says whose tuned model answers.
    """
    use_data_root(data_root)
    is_run = (Path(source) / "config.yaml").is_file()
    _check_options(source, is_run=is_run, data=data, adapter=adapter, device=device, model=model)
    if predictions is not None and not predictions.parent.is_dir():
        raise ConfigError(f"--predictions: there is no folder '{predictions.parent}'. Make it.")
    begin_heavy_work()
    examples = _read(data, data_format) if data else _test_examples(Path(source))
    if is_run:
        tuned, asking = _tuned(Path(source), str(device), model)
    else:
        tuned, asking = _saved(source, adapter)
    given: dict[str, Any] = {
        "template": template and template.replace("\\n", "\n"),
        "max_length": max_length,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
    }
    asking = replace(asking, **{name: value for name, value in given.items() if value})
    result = _score(tuned, examples, asking)
    if predictions is not None:
        rows = [_official(prediction) for prediction in result.predictions]
        predictions.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    print_line(json.dumps(_to_json(result), ensure_ascii=False, indent=2))


def _check_options(
    source: str,
    *,
    is_run: bool,
    data: str | None,
    adapter: Path | None,
    device: str | None,
    model: str | None,
) -> None:
    if is_run:
        if device is None:
            raise ConfigError(f"{source} is a run. Say whose model: --device NAME, or server.")
        if adapter is not None:
            raise ConfigError(f"{source} is a run and brings its adapters. Leave out --adapter.")
    elif device is not None or model is not None:
        raise ConfigError(f"--device and --model need a run, and {source} holds none.")
    elif data is None:
        raise ConfigError(f"{source} is no run and has no test set. Give --data FILE.")


def _read(path: str, data_format: Literal["jsonl", "sni", "mmlu"]) -> "tuple[Example, ...]":
    from coplms.config.data import SourceConfig
    from coplms.data.sources import read_source

    return read_source(SourceConfig(path=path, format=data_format))


def _test_examples(run: Path) -> "tuple[Example, ...]":
    """The run's test examples of all domains."""
    from coplms.api.ask import read_run_config
    from coplms.data.members import load_data

    return load_data(read_run_config(run)).server.test


def _tuned(run: Path, member: str, model: str | None) -> "tuple[LanguageModel, Asking]":
    from coplms.api.ask import load_tuned, read_run_config

    config = read_run_config(run)
    return load_tuned(run, member, model), _asking(config.data, config.evaluation)


def _saved(source: str, adapter: Path | None) -> "tuple[LanguageModel, Asking]":
    from coplms.api.ask import load_adapter
    from coplms.config.data import DataConfig
    from coplms.config.training import EvaluationConfig
    from coplms.models.adapters import active_adapters, merged_copy
    from coplms.models.load import load_model, resolve_device

    model = load_model(source, source, "float32", resolve_device("auto"))
    if adapter is not None:
        load_adapter(model, "given", adapter)
        model.network = merged_copy(model, active_adapters(model))
    return model, _asking(DataConfig(), EvaluationConfig())


def _asking(data: "DataConfig", answers: "EvaluationConfig") -> Asking:
    return Asking(data.template, data.max_length, answers.max_new_tokens, answers.batch_size)


def _score(model: "LanguageModel", examples: "tuple[Example, ...]", asking: Asking) -> "Evaluation":
    from coplms.evaluation.evaluate import evaluate_model

    with Console(stderr=True).status(f"{len(examples)} examples are being answered"):
        return evaluate_model(
            model,
            examples,
            asking.template,
            asking.max_length,
            asking.max_new_tokens,
            asking.batch_size,
        )


def _official(prediction: "Prediction") -> str:
    """A line that the official script of Super-NaturalInstructions reads."""
    instance = {"input": prediction.input, "output": list(prediction.references)}
    row = {"Task": prediction.task, "Instance": instance, "prediction": prediction.text}
    return json.dumps(row, ensure_ascii=False)


def _to_json(result: "Evaluation") -> dict[str, Any]:
    from coplms.evaluation.score import score

    by_domain = {domain: means.to_json() for domain, means in result.by_domain.items()}
    return {
        **score(result.predictions),
        "by_domain": by_domain,
        "num_examples": result.num_examples,
    }
