"""Writes the tables in docs/results.md from the cells of benches that lie in docs/bench.

    coplms compare configs/bench/main.yaml --known docs/bench/main.jsonl --output runs/main
    cp runs/main/cells.jsonl docs/bench/main.jsonl
    python docs/generate_results.py

What stands around the tables is written by hand.
"""

import re
from pathlib import Path

from coplms.api.compared import made_with
from coplms.api.kept_cells import read_cells
from coplms.config.load import load_bench
from coplms.report.bench_rates import choices
from coplms.report.bench_text import markdown

DOCS = Path(__file__).parent
TARGET = DOCS / "results.md"
TABLES = re.compile(r"(<!-- begin: bench/(\S+)\.jsonl -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with the tables of every bench that it names."""
    return TABLES.sub(lambda found: f"{found[1]}{tables(found[2])}{found[3]}", page)


def tables(name: str) -> str:
    """What the cells of `docs/bench/NAME.jsonl` found."""
    bench = load_bench(DOCS.parent / "configs" / "bench" / f"{name}.yaml")
    cells = list(read_cells(DOCS / "bench" / f"{name}.jsonl"))
    outcomes = [each.outcome for each in cells if not each.is_trial]
    trials = [each.trial() for each in cells if each.is_trial]
    made = made_with(outcomes)
    where = "; ".join(f"{key.lower()} {made[key]}" for key in ("Processor", "torch", "Code"))
    rates = choices(trials, bench.learning_rates)
    text = markdown(outcomes, [each.name for each in bench.methods], bench.no_rivals, rates)
    count = "1 cell" if len(outcomes) == 1 else f"{len(outcomes)} cells"
    return f"{count}: {where}.\n\n{text.rstrip()}\n"


if __name__ == "__main__":
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
