"""What each method of a bench took, for people."""

from coplms.report.bench_methods import Row
from coplms.report.costs import size_text, time_text
from coplms.report.scores import DASH

COSTS = ["Traffic, a round", "in all", "Work, a round", "in all", "Peak memory"]
"""Columns of `cost_cells`."""


def cost_cells(row: Row) -> list[str]:
    """Bytes of all devices and seconds of all members, of a round and in all; largest memory."""
    one, whole = row.per_round, row.in_all
    return [
        DASH if one is None else size_text(one.num_bytes),
        size_text(whole.num_bytes),
        DASH if one is None else time_text(one.seconds),
        time_text(whole.seconds),
        size_text(row.peak_bytes),
    ]
