from pathlib import Path

import pytest

from coplms.api.grid import Cell
from coplms.cli.cells import CellLines

CELL = Cell("clinc150", "iid", "coplms", 0, None, Path("clinc150.yaml"), {})


def test_time_left_is_that_of_cells_that_were_made(capsys: pytest.CaptureFixture[str]) -> None:
    lines = CellLines(num_cells=6, jobs=2)
    lines.show(CELL, "before", 0.0)
    lines.show(CELL, "failed", 1.0)
    lines.show(CELL, "done", 60.0)
    lines.show(CELL, "failed", 1.0)
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "[2/6] clinc150/iid/coplms/seed-0: failed",
        "[3/6] clinc150/iid/coplms/seed-0: 1 min 0 s (about 1 min 30 s left)",
        "[4/6] clinc150/iid/coplms/seed-0: failed (about 1 min 0 s left)",
    ]
