"""The server is killed at every phase; started again the run ends with the same weights."""

import signal
import time

import pytest

from tests.network.faults import seen
from tests.network.sites import Site

POINTS = {
    "work round-0/server/distill": "The server is killed while it distills the DPM",
    "told ready": "The server is killed at first contact",
    "start round-1/server/replies": "The server is killed with all answers of a round",
    "work round-1/server/aggregate": "The server is killed while it aggregates",
    "work round-1/server/saml": "The server is killed in its own SAML",
    "start round-1/server/end": "The server is killed at a round's end",
    "put 2": "The server is killed with one answer of a round",
    "told finished": "The server is killed when the first device has finished",
    "work round-3/server/transfer": "The server is killed in its own transfer",
    "save": "The server is killed while it saves its models",
}
FEW = ("put 2",)


def run_with_deaths(here: Site, points: list[str]) -> dict[str, float]:
    """Kill the server at each point in turn; seconds from each death to the next, or to the end."""
    devices = here.devices()
    lasted = {}
    for point in points:
        server = here.server(faults={"points": {point: "kill"}})
        assert server.end() == -signal.SIGKILL, server.text
        lasted[point] = time.monotonic()
    here.server().finish()
    ends = [*list(lasted.values())[1:], time.monotonic()]
    for device in devices.values():
        assert device.terminate()[0] == 0
    here.wait_until_empty()
    return {point: end - start for (point, start), end in zip(lasted.items(), ends, strict=True)}


def check(here, reference) -> None:
    assert here.tuned() == reference.tuned()
    ups = here.ledger("up")
    assert {number for number, _ in ups} == {0, 1, 2, 3}
    phases = here.phase_names()
    assert len(phases) == len(set(phases))
    assert sorted(phases) == sorted(reference.phase_names())


@pytest.mark.slow
def test_a_server_that_is_killed_at_every_phase_ends_with_the_same_weights(site, reference):
    here = site()
    run_with_deaths(here, list(POINTS))
    check(here, reference)
    for fault in POINTS.values():
        seen(
            fault,
            said="started again it goes on from the last phase",
            then="devices come back by themselves; what they did is not done again",
            weights="equal",
        )


def test_a_server_that_is_killed_in_mid_round_ends_with_the_same_weights(site, reference):
    here = site()
    run_with_deaths(here, [point for point in POINTS if point in FEW])
    check(here, reference)
