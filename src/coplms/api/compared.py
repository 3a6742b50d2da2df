"""A bench's tables: results.jsonl, results.csv, results.md and one page."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from coplms.api.compare import Comparison
from coplms.api.grid import Rates
from coplms.api.kept_cells import CELLS, cells_text
from coplms.consortium.record import RunRecord
from coplms.errors import MissingExtraError
from coplms.report.bench import Outcome
from coplms.report.bench_page import bench_page
from coplms.report.bench_rows import as_csv, as_jsonl, tidy
from coplms.report.bench_text import markdown


def write_tables(comparison: Comparison, rates: Rates) -> list[Path]:
    """Write what the finished cells found; the paths.

    Without matplotlib there is no page.
    """
    bench, record = comparison.grid.bench, RunRecord(comparison.output)
    cells = comparison.finished(rates)
    if not cells:
        return []
    outcomes = [each.outcome for each in cells]
    methods = [each.name for each in bench.methods]
    rows, tried = tidy(outcomes), comparison.tried()
    choices = comparison.choices(tried)
    paths = [
        record.write_text("results.jsonl", as_jsonl(rows)),
        record.write_text("results.csv", as_csv(rows)),
        record.write_text("results.md", markdown(outcomes, methods, bench.no_rivals, choices)),
        record.write_text(CELLS, cells_text([*tried, *cells])),
    ]
    facts = {
        "Command": comparison.command,
        **made_with(outcomes),
        "Learning rates": json.dumps({f"{d}, {m}": rate for (d, m), rate in rates.items()}),
    }
    missing = len(list(comparison.grid.main(rates))) - len(outcomes)
    try:
        page = bench_page(bench.name, outcomes, methods, bench.no_rivals, facts, missing, choices)
    except MissingExtraError:
        return paths
    return [*paths, record.write_text("report.html", page)]


def made_with(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """On which processors, and by which code, so many cells were made."""
    where = [each.environment for each in outcomes]
    names = ("coplms", "torch", "transformers", "peft")
    told = {
        "Processor": [each.get("processor") for each in where],
        "Device": [each.get("device") for each in where],
        **{name: [each.get("packages", {}).get(name) for each in where] for name in names},
        "Code": [each.get("code") for each in where],
    }
    return {name: _counted(values) for name, values in told.items()}


def _counted(values: Iterable[object]) -> str:
    """The only value, or each with the number of its cells.

    >>> _counted(["a", "a"]), _counted(["a", "b", "a"])
    ('a', 'a (2 cells), b (1)')
    """
    counts = Counter(str(value) for value in values if value is not None).most_common()
    if len(counts) < 2:
        return "".join(value for value, _ in counts)
    (first, most), *rest = counts
    return ", ".join([f"{first} ({most} cells)", *(f"{value} ({n})" for value, n in rest)])
