"""Writes the table in docs/faults.md from what the tests with real processes have seen.

    COPLMS_FAULTS=faults.jsonl pytest tests/network -m "slow or not slow"
    python docs/generate_faults.py faults.jsonl

What stands around the table is written by hand.
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).with_name("faults.md")
BEGIN = "<!-- begin: written by docs/generate_faults.py -->"
END = "<!-- end -->"
HEAD = ("Fault", "What is said", "After", "What follows", "Final weights")


def render(page: str, seen: list[dict[str, object]]) -> str:
    """The page with a table of what was seen; the last word on a fault counts."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    latest = {str(row["fault"]): row for row in seen}
    lines = [_line(HEAD), "|---|---|--:|---|---|", *(_line(_cells(row)) for row in latest.values())]
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    seconds = row["seconds"]
    after = f"{seconds:.0f} s" if isinstance(seconds, int | float) else ""
    said = f"`{row['said']}`" if row["said"] else ""
    return str(row["fault"]), said, after, str(row["then"]), str(row["weights"])


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def read(path: Path) -> list[dict[str, object]]:
    """The lines of JSON that tests have written."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8"), read(Path(sys.argv[1]))))
