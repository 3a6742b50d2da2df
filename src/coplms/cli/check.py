"""`coplms train --dry-run`: tables of what a run would be, then whether it can start."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from coplms.config.run import RunConfig

if TYPE_CHECKING:
    from coplms.api.check import RunCheck
    from coplms.api.facts import DataCheck, ModelCheck

_PLAIN_WIDTH = 140
_SHOWN_DOMAINS = 4
_SHOWN_MISFITS = 20
_MAX_ROWS = 20

Row = TypeVar("Row")


def print_check(config: RunConfig, cache: Path, output: Path = Path("runs") / "new-run") -> None:
    """Print what the run would load, read, need and send, and whether it can start.

    Args:
        config: The run's.
        cache: Where mini models and class maps are kept.
        output: The run's folder; need not exist.

    Raises:
        CoplmsError: If the run would end before it trains; the reason that it would give.
    """
    from coplms.api.check import check_run

    found = check_run(config, cache, output)
    console = _console()
    for table in _tables(found):
        if table.row_count:
            table.box = box.SIMPLE_HEAD if console.is_terminal else None
            console.print(table)
            console.print()
    if config.method.name != "coplms":
        console.print(f"method: {config.method.name}, a baseline")
    for line in (*_totals(found), *(f"warning: {warning}" for warning in found.warnings)):
        console.print(line, soft_wrap=True)
    if found.refusal is not None:
        raise found.refusal
    console.print("ready to train, once the hub answers" if found.needs_hub else "ready to train")


def _console() -> Console:
    """Coloured where it is a terminal; otherwise plain columns, wide enough not to wrap."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def _tables(found: "RunCheck") -> Iterator[Table]:
    yield _models(found.models)
    yield _data(found.data)
    yield _readings(found)
    yield _misfits(found)
    yield _pairs(found)
    yield _parts(found)
    yield _memory(found)
    yield _time(found)


def _table(title: str, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table with columns of text, then of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right")
    return table


def _shown(table: Table, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that are shown; a caption counts the others."""
    hidden = len(rows) - _MAX_ROWS
    if hidden <= 0:
        return rows
    table.caption, table.caption_justify = f"and {hidden:,} more rows", "left"
    return rows[:_MAX_ROWS]


def _models(models: Sequence["ModelCheck"]) -> Table:
    names = ("Model", "From", "State", "Architecture", "Tokenizer")
    table = _table("Models", names, ("Vocabulary", "Parameters", "Trained"))
    for model in _shown(table, models):
        table.add_row(
            model.name,
            model.source,
            _state(model),
            model.architecture,
            model.tokenizer or ("not seen" if model.state == "written" else "not built yet"),
            f"{model.vocab_size:,}",
            f"{model.num_parameters:,}",
            f"{model.num_trained:,}",
        )
    return table


def _state(model: "ModelCheck") -> str:
    if model.state == "build" and model.build_steps:
        return f"will be built ({model.build_steps} steps)"
    return {
        "ready": "ready",
        "download": "will be downloaded",
        "build": "cut out of the LLM",
        "written": "not seen; sizes as written",
    }[model.state]


def _data(data: Sequence["DataCheck"]) -> Table:
    table = _table("Examples", ("Member", "Domains of train"), ("Train", "Dev", "Test"))
    for held in _shown(table, data):
        numbers = [f"{number:,}" for number in (held.train, held.dev, held.test)]
        table.add_row(held.member, _domains(held.domains), *numbers)
    return table


def _domains(domains: dict[str, int]) -> str:
    largest = sorted(domains, key=lambda domain: (-domains[domain], domain))
    shown = ", ".join(f"{domain} {domains[domain]:,}" for domain in largest[:_SHOWN_DOMAINS])
    more = len(largest) - _SHOWN_DOMAINS
    return f"{shown}, {more} more" if more > 0 else shown


def _readings(found: "RunCheck") -> Table:
    numbers = ("Examples", "Longest", "Longest answer", "Prompts cut", "Answers too long")
    table = _table("Tokens of train and dev", ("Tokenizer of", "reads text of"), numbers)
    for reading in _shown(table, found.readings):
        counts = (
            reading.num_examples,
            reading.longest,
            reading.longest_answer,
            reading.num_cut,
            len(reading.misfits),
        )
        table.add_row(reading.reader, reading.member, *(f"{count:,}" for count in counts))
    return table


def _misfits(found: "RunCheck") -> Table:
    table = _table("Answers that do not fit", ("Tokenizer of", "Where"), ("Tokens",))
    rows = [(reading.reader, misfit) for reading in found.readings for misfit in reading.misfits]
    for reader, misfit in rows[:_SHOWN_MISFITS]:
        table.add_row(reader, misfit.origin, f"{misfit.num_tokens:,}")
    if len(rows) > _SHOWN_MISFITS:
        table.add_row("", f"and {len(rows) - _SHOWN_MISFITS:,} more", "")
    return table


def _pairs(found: "RunCheck") -> Table:
    shares = ("DPM's own class", "SLM's own class", "One-to-one chunks")
    table = _table("DPM and SLM", ("Device",), ("Common classes", *shares, "of answers"))
    for pair in _shown(table, found.pairs):
        values = (pair.dpm_own, pair.model_own, pair.one_to_one)
        table.add_row(
            pair.member,
            f"{pair.num_classes:,}",
            *(f"{100 * value:.1f} %" for value in values),
            f"{pair.num_answers:,}",
        )
    return table


def _parts(found: "RunCheck") -> Table:
    table = _table("Training", ("Part",), ("Parameters", "Optimiser steps"))
    if found.distill_steps:
        dpm = next(model for model in found.models if model.name == "dpm")
        table.add_row("dpm, distilled", f"{dpm.num_parameters:,}", f"{found.distill_steps:,}")
    for part in _shown(table, found.parts):
        table.add_row(part.name, f"{part.size.num_parameters:,}", f"{part.steps:,}")
    if found.alone_steps:
        table.add_row("every model alone, to compare", "", f"{found.alone_steps:,}")
    return table


def _memory(found: "RunCheck") -> Table:
    from coplms.report.costs import size_text

    kinds = ("Weights", "Moments", "Gradients", "Activations", "Logits", "Total")
    table = _table(f"Memory, estimated, on {found.device}", ("Member",), kinds)
    for row in _shown(table, found.memory.rows):
        sizes = (row.weights, row.moments, row.gradients, row.activations, row.logits, row.total)
        owner = f"{row.owner} on {row.device}" if "," in found.device else row.owner
        table.add_row(owner, *map(size_text, sizes))
    return table


def _time(found: "RunCheck") -> Table:
    from coplms.report.costs import time_text

    kinds = [row.kind for row in found.time.rows]
    where = "measured here" if found.time.is_measured else "compute.teraflops"
    speed = f"{found.time.teraflops:,.3g} TFLOP/s ({where})"
    table = _table(f"Time, estimated, at {speed}", ("Member",), (*kinds, "total"))
    members = list(dict.fromkeys(name for row in found.time.rows for name in row.by_member))
    for member in _shown(table, members):
        seconds = [row.by_member.get(member, 0.0) for row in found.time.rows]
        cells = [time_text(each) if each else "" for each in (*seconds, sum(seconds))]
        table.add_row(member, *cells)
    return table


def _totals(found: "RunCheck") -> Iterator[str]:
    from coplms.report.costs import size_text, time_text

    memory, disk, traffic = found.memory, found.disk, found.traffic
    yield f"transfer set: {found.num_transfer:,} inputs"
    yield (
        f"memory: about {size_text(memory.peak)} for all members in one process, "
        f"{size_text(memory.available)} available on {memory.device}"
    )
    yield (
        f"disk: {size_text(disk.needed)} to be written (checkpoints {size_text(disk.checkpoints)}, "
        f"DPMs {size_text(disk.proxies)}, results {size_text(disk.results)}), "
        f"{size_text(disk.free)} free"
    )
    yield (
        f"traffic: {size_text(traffic.welcome)} to each device once, "
        f"{size_text(traffic.per_round)} per round, {size_text(traffic.total)} in all"
    )
    yield (
        f"time: about {time_text(found.time.seconds)} for all members one after another "
        f"({found.time.operations:.2g} floating-point operations)"
    )
