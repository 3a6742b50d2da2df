"""`coplms compare`: methods beside each other on the same bench."""

import os
from pathlib import Path
from typing import Annotated

import typer

from coplms.cli.console import begin_heavy_work, print_line, resumable
from coplms.cli.options import DataRoot, use_data_root
from coplms.cli.signals import stop_on_sigterm


def compare(
    bench: Annotated[Path, typer.Argument(metavar="BENCH", help="A YAML file: the grid.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where runs and tables go; what is done there is not done again.",
            show_default="runs/ and the bench's name",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Cells side by side.", show_default="the number of cores"),
    ] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Run only this seed; may be repeated."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="Run only this row; may be repeated."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Run only this data set; may be repeated."),
    ] = None,
    partitions: Annotated[
        list[str] | None,
        typer.Option("--partition", help="Run only this partition; may be repeated."),
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CELLS",
            help="A cells.jsonl of this bench, as another machine wrote it: what it holds is not "
            "made again; may be repeated.",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
    tables_only: Annotated[
        bool, typer.Option("--tables", help="Write the tables of what is done, and run nothing.")
    ] = False,
) -> None:
    """Run every method of BENCH on every data set, partition and seed, and write one table.

    A cell is a run as `coplms train` makes it. Start the same command again to go on after a stop.
    The tables show all that is done, whichever part of the bench was asked for last. Machines
    share a bench by parts of it, whose cells.jsonl the last one takes by --known.
    """
    from coplms.config.load import load_bench

    use_data_root(data_root)
    loaded = load_bench(bench)
    folder = output or Path("runs") / bench.stem
    folder.mkdir(parents=True, exist_ok=True)
    with resumable(), stop_on_sigterm():
        begin_heavy_work()
        from coplms.api.compare import Comparison
        from coplms.api.compared import write_tables
        from coplms.api.grid import Grid, Part
        from coplms.api.kept_cells import KnownCells
        from coplms.cli.cells import CellLines

        part = Part(seeds or (), methods or (), data or (), partitions or ())
        grid = Grid(loaded, bench.parent, part)
        jobs = jobs or os.cpu_count() or 1
        lines = CellLines(len(list(grid.choosing())) + len(list(grid.wanted({}))), jobs)
        elsewhere = KnownCells(known or ())
        comparison = Comparison(
            grid, folder, jobs, lines.show, f"coplms compare {bench}", elsewhere
        )
        comparison.check()
        if not tables_only:
            comparison.choose_rates()
        rates = comparison.known_rates()
        try:
            if not tables_only:
                comparison.run(rates)
        finally:
            paths = write_tables(comparison, rates)
            for name, difference in elsewhere.stale.items():
                print_line(f"{name}: the known cell has another configuration ({difference})")
    for path in paths:
        print_line(str(path))
