"""The network between a device and its server is cut in mid-round, and comes back."""

import time

import pytest

from coplms.config.network import split_address
from coplms.runtimes.flower.loopback import free_port
from tests.network.faults import seen
from tests.network.processes import wait_until
from tests.network.proxy import Cable

pytestmark = pytest.mark.slow


def cut_for(here, reference, seconds, *, reset):
    """A run whose network is cut in mid-round; what it took until the device's answer came."""
    port = split_address(here.network.address)[1]
    home = here.home("travel")
    with Cable(port, split_address(here.network.listen)[1]) as cable:
        bank = here.device("bank")
        stop = {"points": {"start round-1/travel/saml": "hold"}, "folder": str(home)}
        travel = here.device("travel", faults=stop)
        server = here.server()
        wait_until((home / "held").exists, "travel is in mid-round", server, travel)
        cable.cut(reset=reset)
        (home / "go").touch()
        travel.wait_for("round-1/travel/send: done")
        time.sleep(seconds)  # how long the cut is, and not a wait for anything
        cable.mend()
        mended = time.monotonic()
        server.wait_for("round 1, travel: has answered")
        back = time.monotonic() - mended
        server.finish()
        for device in (bank, travel):
            assert device.terminate()[0] == 0
    assert here.tuned() == reference.tuned()
    assert here.ledger("up")[1, "travel"] == 1
    return back


@pytest.mark.parametrize("reset", [False, True], ids=["silent", "reset"])
@pytest.mark.parametrize("seconds", [8, 60])
def test_the_round_survives_a_network_that_is_cut(site, reference, seconds, reset):
    here = site(address=f"localhost:{free_port()}")
    back = cut_for(here, reference, seconds, reset=reset)
    how = "connections are refused" if reset else "packets vanish"
    seen(
        f"The network is cut for {seconds} seconds; {how}",
        said="round 1, travel: has answered",
        seconds=back,
        then="after the cut the answer that was made meanwhile comes in; no work is done twice",
        weights="equal",
    )
