"""A device that dies, hangs, raises, or answers what it should not."""

import re
import time

import pytest

from tests.network.faults import seen
from tests.network.processes import wait_until
from tests.network.sites import rows

pytestmark = pytest.mark.slow

PRIVATE = "zqxsecret4711"
"""Stands in the text of errors on the device."""
REFUSED = "sent an answer that was refused"
FAILED = "failed; its log says why"


def test_a_device_that_is_killed_in_mid_round_and_restarted_finishes_the_round(site, reference):
    here = site()
    bank = here.device("bank")
    stop = {"points": {"start round-1/travel/saml": "hold"}, "folder": str(here.home("travel"))}
    travel = here.device("travel", faults=stop)
    server = here.server()
    wait_until((here.home("travel") / "held").exists, "travel is in mid-round", server, travel)
    travel.kill()
    killed = time.monotonic()
    travel = here.device("travel")
    server.wait_for(r"round 1, travel: has answered")
    seconds = time.monotonic() - killed
    server.finish()
    assert not server.says("lost its connection")
    assert here.tuned() == reference.tuned()
    assert here.ledger("up")[1, "travel"] == 1
    for device in (bank, travel):
        assert device.terminate()[0] == 0
    seen(
        "A device is killed in mid-round and restarted",
        said="round 1, travel: has answered",
        seconds=seconds,
        then="it does the rest of the round; nobody else does anything twice",
        weights="equal",
    )


def test_a_device_killed_while_it_fetches_goes_on_where_it_was(site, reference):
    here = site()
    bank = here.device("bank")
    travel = here.device("travel", faults={"points": {"fetched 40960": "kill"}})
    server = here.server()
    travel.end()
    files = here.home("travel") / "state" / "files"
    (part,) = files.glob("*.part")
    have = part.stat().st_size
    size = (here.run / "dpm" / "model.safetensors").stat().st_size
    assert 0 < have < size
    killed = time.monotonic()
    travel = here.device("travel")
    server.wait_for(r"first contact, travel: is ready")
    seconds = time.monotonic() - killed
    server.finish()
    assert here.tuned() == reference.tuned()
    (entry,) = (
        row
        for row in rows(here.run / "ledger.jsonl")
        if (row["round"], row["device"], row["direction"]) == (0, "travel", "down")
    )
    sent = entry["content"]["file/model.safetensors"]
    assert size < sent <= 2 * size - have
    for device in (bank, travel):
        assert device.terminate()[0] == 0
    seen(
        "A device is killed while it fetches the DPM, and restarted",
        said="first contact, travel: is ready",
        seconds=seconds,
        then="it fetches what is missing, not what it has",
        weights="equal",
    )


def test_a_device_that_hangs_past_the_deadline_is_left_out_and_takes_part_again(site):
    here = site(rounds=3, quorum=0.5, round_seconds=20)
    bank = here.device("bank")
    home = here.home("travel")
    stop = {"points": {"start round-1/travel/saml": "hold"}, "folder": str(home)}
    travel = here.device("travel", faults=stop)
    server = here.server()
    wait_until((home / "held").exists, "travel is in mid-round", server, travel)
    held = time.monotonic()
    server.wait_for(r"round 1, travel: did not answer before the deadline")
    seconds = time.monotonic() - held
    (home / "go").touch()
    travel.wait_for(r"round-1/travel/send: done")
    server.wait_for(r"round 3, travel: has answered")
    server.finish()
    ups = here.ledger("up")
    assert (1, "travel") not in ups
    assert ups[1, "bank"] == ups[3, "travel"] == ups[4, "travel"] == 1
    for device in (bank, travel):
        assert device.terminate()[0] == 0
    seen(
        "A device hangs past the deadline of 20 seconds and answers late",
        said="round 1, travel: did not answer before the deadline",
        seconds=seconds,
        then="its answer is dropped; it takes part in "
        + ("the next round" if (2, "travel") in ups else "the round after the next"),
    )


WISHES = {
    1: ("none", "has answered", ""),
    2: ("raise", FAILED, "A device's training raises"),
    3: ("nan", REFUSED, "It sends NaN"),
    4: ("shape", REFUSED, "It sends a tensor of another shape"),
    5: ("old", REFUSED, "It sends its answer of an earlier round again"),
    6: ("name", REFUSED, "It sends an answer in another device's name"),
    7: ("noise", REFUSED, "It sends bytes that are no message"),
    8: ("diverge", "got values that are not finite", "Its training diverges"),
    9: ("crash", FAILED, "Its answer raises where nothing should"),
    10: ("twice", "has answered", "It sends the same answer twice"),
    11: ("none", "has answered", ""),
}


def test_a_device_that_does_something_else_wrong_in_every_round_costs_nobody_else_anything(site):
    here = site(rounds=len(WISHES), quorum=0.5)
    bank = here.device("bank")
    replies = {str(number): wish for number, (wish, _, _) in WISHES.items()}
    travel = here.device("travel", faults={"replies": replies, "secret": PRIVATE})
    server = here.server()
    server.finish()
    for device in (bank, travel):
        assert device.terminate()[0] == 0
    here.wait_until_empty()

    said = dict(re.findall(r"^round (\d+), travel: (.*)$", server.text, re.MULTILINE))
    for number, (_, words, _) in WISHES.items():
        assert said[str(number)].startswith(words), said
    log = (here.state / "logs" / "server.log").read_text()
    assert "round 3, travel: values of" in log
    assert "'travel' answered for round 4 in round 5" in log
    assert travel.says("sent the same answer twice|could not send twice")
    ups = here.ledger("up")
    assert {ups[number, "bank"] for number in WISHES} == {1}
    assert {ups.get((number, "travel"), 1) for number in WISHES} == {1}
    phases = rows(here.run / "phases.jsonl")
    aggregated = [row["metrics"] for row in phases if row["kind"] == "aggregate"]
    taken = [number for number, (_, words, _) in WISHES.items() if words == "has answered"]
    assert [row["num_devices"] for row in aggregated] == [1 + (n in taken) for n in WISHES]
    private = [
        path
        for folder in (here.state, here.run)
        for path in folder.rglob("*")
        if path.is_file() and PRIVATE.encode() in path.read_bytes()
    ]
    assert private == []
    assert PRIVATE not in server.text
    for _, words, fault in WISHES.values():
        then = "it is counted once" if words == "has answered" else "the round goes on without it"
        if fault:
            seen(fault, said=f"round N, travel: {words}", then=f"{then}; it takes part again")
