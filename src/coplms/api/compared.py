"""A bench's tables: results.jsonl, results.csv, results.md and one page."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from coplms.api.compare import Comparison
from coplms.api.grid import Rates
from coplms.consortium.record import RunRecord
from coplms.errors import MissingExtraError
from coplms.report.bench_page import bench_page
from coplms.report.bench_rows import as_csv, as_jsonl, tidy
from coplms.report.bench_text import markdown


def write_tables(comparison: Comparison, rates: Rates) -> list[Path]:
    """Write what the finished cells found; the paths.

    Without matplotlib there is no page.
    """
    bench, record = comparison.grid.bench, RunRecord(comparison.output)
    outcomes = comparison.outcomes(rates)
    if not outcomes:
        return []
    methods = [each.name for each in bench.methods]
    rows = tidy(outcomes)
    paths = [
        record.write_text("results.jsonl", as_jsonl(rows)),
        record.write_text("results.csv", as_csv(rows)),
        record.write_text("results.md", markdown(outcomes, methods, bench.upper_bounds)),
    ]
    facts = {
        "Command": comparison.command,
        "Machine": f"{platform.machine()}, {platform.system()}",
        **{name: version(name) for name in ("coplms", "torch", "transformers", "peft")},
        "Learning rates": json.dumps({f"{d}, {m}": rate for (d, m), rate in rates.items()}),
    }
    missing = len(list(comparison.grid.main(rates))) - len(outcomes)
    try:
        page = bench_page(bench.name, outcomes, methods, bench.upper_bounds, facts, missing)
    except MissingExtraError:
        return paths
    return [*paths, record.write_text("report.html", page)]
