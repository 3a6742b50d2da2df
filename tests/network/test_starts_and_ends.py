"""Processes that are ended, in mid-work too; devices that come late, leave, and come back."""

import re

import pytest

from tests.network.faults import seen
from tests.network.processes import wait_until
from tests.network.sites import rows

pytestmark = pytest.mark.slow

SOON = 30.0
"""Seconds in which a process ends that is asked to, on a machine that is busy; else about five."""


def hold(here, name, point):
    """Faults that hold a member at a point."""
    home = here.home(name)
    return {"points": {point: "hold"}, "folder": str(home)}, home


def test_sigterm_ends_server_and_devices_in_mid_training_and_the_run_goes_on(site, reference):
    here = site()
    faults, home = hold(here, "travel", "start round-1/travel/saml")
    bank, travel = here.device("bank"), here.device("travel", faults=faults)
    server = here.server()
    wait_until((home / "held").exists, "travel is in mid-training", server, travel)
    ends = {"device in mid-training": travel.terminate()}
    ends["server that waits for answers"] = server.terminate()
    travel = here.device("travel")
    here.folder.joinpath("server-faults").mkdir()
    faults = {
        "points": {"start round-1/server/saml": "hold"},
        "folder": str(here.folder / "server-faults"),
    }
    server = here.server(faults=faults)
    wait_until((here.folder / "server-faults" / "held").exists, "the server is in mid-training")
    ends["server in mid-training"] = server.terminate()
    here.server().finish()
    ends["devices without a server"] = max(device.terminate() for device in (bank, travel))
    here.wait_until_empty()
    assert {code for code, _ in ends.values()} == {0}
    assert max(seconds for _, seconds in ends.values()) < SOON, ends
    assert here.tuned() == reference.tuned()
    seen(
        "SIGTERM to a device, and to the server, in mid-training",
        said="exit code 0",
        seconds=max(seconds for _, seconds in ends.values()),
        then="started again they go on from the last phase",
        weights="equal",
    )


def test_kill_9_of_server_or_device_leaves_no_process_behind(site):
    here = site()
    faults, home = hold(here, "travel", "start round-1/travel/saml")
    bank, travel = here.device("bank"), here.device("travel", faults=faults)
    server = here.server()
    wait_until((home / "held").exists, "travel is in mid-training", server, travel)
    for process in (travel, bank, server):
        process.kill()
    seconds = here.wait_until_empty()
    seen(
        "kill -9 of server and devices",
        said="",
        seconds=seconds,
        then="nothing that they started is left",
    )


def test_kill_9_of_a_server_ends_its_local_devices(site):
    here = site()
    server = here.server("--local-devices", "2")
    server.wait_for("2 of 2 devices are connected")
    server.kill()
    here.wait_until_empty()


def test_a_device_joins_late_leaves_and_comes_back(site):
    here = site(devices=3, rounds=4, quorum=0.3, join_seconds=45, return_seconds=40)
    faults, home = hold(here, "bank", "start round-1/bank/saml")
    bank, court = here.device("bank", faults=faults), here.device("court")
    for name, device in (("bank", bank), ("court", court)):
        device.wait_for("waiting for the server")
        assert name
    server = here.server()
    server.wait_for("first contact, travel: was not connected")
    wait_until((home / "held").exists, "bank is in mid-round", server, bank)
    assert court.terminate()[0] == 0
    travel = here.device("travel")
    travel.wait_for("joined")
    (home / "go").touch()
    server.wait_for("round 2, travel: has answered")
    court = here.device("court")
    server.wait_for("court: has finished")
    server.finish()
    ups = here.ledger("up")
    assert {number for number, name in ups if name == "bank"} == {0, 1, 2, 3, 4, 5}
    assert {number for number, name in ups if name == "travel"} >= {0, 2, 3, 4, 5}
    assert (1, "travel") not in ups
    assert (5, "court") in ups
    for device in (bank, court, travel):
        assert device.terminate()[0] == 0
    (members,) = {frozenset(row["member"] for row in rows(here.run / "evaluation.jsonl"))}
    assert members == {"server", *here.names}
    seen(
        "A device joins in mid-run",
        said="round 2, travel: has answered",
        then="it gets the DPM and the newest shared part, and takes part from the next round on",
    )


def test_only_devices_that_are_drawn_get_a_rounds_message(site, reference):
    how = {"devices": 3, "rounds": 3, "participation": 0.5}
    here = site(**how)
    devices = here.devices()
    server = here.server()
    server.finish()
    for device in devices.values():
        assert device.terminate()[0] == 0
    downs = here.ledger("down")
    for number in range(1, 4):
        assert len([name for round_, name in downs if round_ == number]) == 2
    assert here.tuned() == reference.tuned(**how)


def test_a_missed_quorum_says_who_failed_and_the_run_goes_on_when_they_are_back(site, reference):
    here = site(join_seconds=3, return_seconds=2)
    bank = here.device("bank")
    server = here.server()
    server.wait_for("waiting for (bank, )?travel")
    assert server.end() == 2
    message = r"QuorumError: first contact: [01] of 2 devices answered, and network.quorum 1 asks"
    assert re.search(message, server.text)
    assert server.says("first contact, travel: was not connected")
    assert not server.says("Traceback")

    travel = here.device("travel", faults={"replies": {"2": "raise"}, "secret": "x"})
    travel.wait_for("waiting for the server|joined")
    server = here.server("--set", "network.join_seconds=120")
    assert server.end() == 2
    assert server.says("QuorumError: round 2: 1 of 2 devices answered, and network.quorum 1 asks")
    assert server.says("round 2, travel: failed; its log says why")
    assert server.says("run the same command again")
    assert travel.terminate()[0] == 0

    travel = here.device("travel")
    server = here.server("--set", "network.join_seconds=120")
    server.finish()
    assert not server.says("round 2, bank: has answered")  # its answer was kept
    for device in (bank, travel):
        assert device.terminate()[0] == 0
    here.wait_until_empty()
    assert here.tuned() == reference.tuned()
    seen(
        "Too few devices answer a round",
        said="QuorumError: round 2: 1 of 2 devices answered, and network.quorum 1 asks for 2",
        then="the server ends with exit code 2; the same command goes on with the answers it has",
        weights="equal",
    )
