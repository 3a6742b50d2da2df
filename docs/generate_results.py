"""Writes the tables in README.md and docs/results.md from the cells of benches in docs/bench.

    coplms compare configs/bench/main.yaml --known docs/bench/main.jsonl --output runs/main
    cp runs/main/cells.jsonl docs/bench/main.jsonl
    python docs/generate_results.py

What stands around the tables is written by hand.
"""

import re
from pathlib import Path

from coplms.api.compared import made_with
from coplms.api.kept_cells import KeptCell, read_cells
from coplms.config.bench import BenchConfig
from coplms.config.load import load_bench
from coplms.report.bench_methods import tables_of
from coplms.report.bench_rates import choices
from coplms.report.bench_text import markdown, overview_text

DOCS = Path(__file__).parent
PAGES = (DOCS.parent / "README.md", DOCS / "results.md")
TABLES = re.compile(
    r"(<!-- begin: (overview of )?bench/(\S+)\.jsonl -->\n).*?(<!-- end -->)", re.DOTALL
)


def render(page: str) -> str:
    """The page with the tables of every bench that it names."""

    def fresh(found: re.Match[str]) -> str:
        return f"{found[1]}{(overview if found[2] else tables)(found[3])}{found[4]}"

    return TABLES.sub(fresh, page)


def overview(name: str) -> str:
    """Every method on every data set, by the cells of `docs/bench/NAME.jsonl`."""
    outcomes = [each.outcome for each in cells_of(name) if not each.is_trial]
    methods = [each.name for each in bench_of(name).methods]
    return overview_text(tables_of(outcomes, methods), methods) + "\n"


def tables(name: str) -> str:
    """What the cells of `docs/bench/NAME.jsonl` found."""
    bench, cells = bench_of(name), cells_of(name)
    outcomes = [each.outcome for each in cells if not each.is_trial]
    trials = [each.trial() for each in cells if each.is_trial]
    made = made_with(outcomes)
    where = "; ".join(f"{key.lower()} {made[key]}" for key in ("Processor", "torch", "Code"))
    rates = choices(trials, bench.learning_rates)
    text = markdown(outcomes, [each.name for each in bench.methods], bench.no_rivals, rates)
    count = "1 cell" if len(outcomes) == 1 else f"{len(outcomes)} cells"
    return f"{count}: {where}.\n\n{text.rstrip()}\n"


def bench_of(name: str) -> BenchConfig:
    """The bench of that name."""
    return load_bench(DOCS.parent / "configs" / "bench" / f"{name}.yaml")


def cells_of(name: str) -> list[KeptCell]:
    """What of it is done."""
    return list(read_cells(DOCS / "bench" / f"{name}.jsonl"))


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")
