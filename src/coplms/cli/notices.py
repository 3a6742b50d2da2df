"""News of devices, in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coplms.consortium.post import Notice

_DONE = {"ready": "is ready", "upload": "has answered", "finished": "has finished"}


def describe_notice(notice: "Notice") -> str:
    """`round 1, hospital: has answered (84.7 kB, 12.3 s of work, loss 1.234)`."""
    from coplms.report.costs import size_text, time_text

    when = "first contact" if notice.round_number == 0 else f"round {notice.round_number}"
    if notice.failed:
        return f"{when}, {notice.device}: {notice.what}"
    facts = [size_text(notice.num_bytes)]
    if notice.report is not None and notice.report.phases:
        facts.append(f"{time_text(notice.report.seconds)} of work")
        loss = notice.report.loss
        facts += [] if loss is None else [f"loss {loss:.3f}"]
    elif notice.report is not None:
        facts.append(f"{notice.report.sizes.train} examples")
    return f"{when}, {notice.device}: {_DONE[notice.what]} ({', '.join(facts)})"


def describe_presence(present: frozenset[str], expected: Sequence[str]) -> str:
    """`2 of 3 devices are connected; waiting for bank`."""
    missing = [name for name in expected if name not in present]
    text = f"{len(present)} of {len(expected)} devices are connected"
    if not missing:
        return text
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return f"{text}; waiting for {shown}"
