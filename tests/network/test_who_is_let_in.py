"""Who is let in, what is reached from outside, and what the gate's log says of the others."""

import json
import re
import ssl

import httpx
import psutil
import pytest

from coplms.config.network import split_address
from coplms.errors import ConfigError
from coplms.runtimes.flower.calls import EngineLost
from coplms.runtimes.flower.engine import TaskType
from coplms.runtimes.flower.task import RuntimeApi
from tests.network.faults import seen
from tests.network.processes import marked, wait_until
from tests.network.sites import Site

USER_ERROR = 2

pytestmark = pytest.mark.slow


def refused(here: Site, name: str, bundle: dict[str, object] | None = None, state: str = "state"):
    """Start a device that is expected to be refused, with another bundle perhaps."""
    home = here.home(name)
    path = home / "bundle.join"
    if bundle is not None:
        path = home / f"bundle-{state}.join"
        path.write_text(json.dumps(bundle))
    arguments = ["device", "--join", str(path), "--config", str(home / "device.yaml")]
    return here.coplms(*arguments, "--state", str(home / state), log=f"{name}-{state}")


def ends_with(device, words: str) -> None:
    assert device.end() == USER_ERROR, device.text
    text = " ".join(device.text.split())
    assert words in text
    assert "Traceback" not in text


def test_unknown_used_tampered_and_foreign_bundles_are_refused_and_logged(site):
    here, foreign = site(), site()
    server = here.server()
    server.wait_for("listening at")
    here.invite("bank")
    foreign_bundle = json.loads(foreign.invite("bank").read_text())
    good = json.loads(here.invite("bank").read_text())

    def changed(**fields):
        return {**good, "invitation": {**good["invitation"], **fields}}

    reached = {"address": good["invitation"]["address"]}
    wrong_server = {**foreign_bundle, "invitation": {**foreign_bundle["invitation"], **reached}}
    stranger = {**wrong_server, "ca": good["ca"]}
    sha = {"ca_sha256": good["invitation"]["ca_sha256"]}
    stranger["invitation"] = {**wrong_server["invitation"], **sha}
    cases = {
        "other-device": (changed(device="travel"), "the join bundle was changed"),
        "later": (changed(expires="2099-01-01T00:00:00Z"), "the join bundle was changed"),
        "other-ca": ({**good, "ca": foreign_bundle["ca"]}, "is no join bundle, or was changed"),
        "stranger": (stranger, "the join bundle was changed, or is another server's"),
        "other-server": (wrong_server, "is not by the expected CA"),
        "no-bundle": ({}, "is no join bundle"),
    }
    devices = {name: refused(here, "bank", bundle, name) for name, (bundle, _) in cases.items()}
    for name, device in devices.items():
        ends_with(device, cases[name][1])
    assert here.gate_log.count("403 token") >= 3
    bank = here.device("bank")
    bank.wait_for("joined")
    good = json.loads((here.home("bank") / "bundle.join").read_text())
    ends_with(refused(here, "bank", good, "thief"), "was used by another machine or another key")
    assert re.search(r"refused device 'bank' at 127.0.0.1, key SHA256:\S+: 403 used", here.gate_log)
    with pytest.raises(ConfigError, match="'mill' is no device of"):
        here.hub.invite("mill")
    assert bank.terminate()[0] == 0
    assert server.terminate()[0] == 0
    for fault, words in (
        ("A join bundle that was changed", "the join bundle was changed"),
        ("A join bundle that another machine has used", "was used by another machine"),
    ):
        seen(fault, said=words, then="the device ends with exit code 2; gate.log names its key")


def test_a_key_that_is_too_old_is_refused_and_logged(site):
    here = site(key_days=25 / 86400, quorum=0.5)
    server = here.server()
    server.wait_for("listening at")
    bank = here.device("bank")
    server.wait_for("1 of 2 devices are connected")
    wait_until(lambda: "401 expired" in here.gate_log, "the gate refuses the key")
    assert bank.terminate()[0] == 0
    ends_with(refused(here, "bank"), "the device's key is too old")
    assert "403 expired" in here.gate_log
    assert server.terminate()[0] == 0
    seen(
        "A device's key is too old",
        said="gate.log: 401 expired",
        then="the device is cut off; started again it ends with exit code 2 and says why",
    )


def test_a_device_that_is_revoked_in_mid_round_is_cut_off_and_the_run_goes_on(site):
    here = site(rounds=2, quorum=0.5, return_seconds=5)
    home = here.home("travel")
    stop = {"points": {"start round-1/travel/saml": "hold"}, "folder": str(home)}
    bank, travel = here.device("bank"), here.device("travel", faults=stop)
    server = here.server()
    wait_until((home / "held").exists, "travel is in mid-round", server, travel)
    arguments = ["server", str(here.config), "--state", str(here.state), "--revoke", "travel"]
    here.coplms(*arguments).finish()
    seconds = wait_until(lambda: "401 revoked" in here.gate_log, "the gate refuses the device")
    (home / "go").touch()
    server.finish()
    assert {key for key in here.ledger("up") if key[1] == "travel"} == {(0, "travel")}
    assert travel.terminate()[0] == 0
    here_again = here.server(run=here.folder / "other")
    here_again.wait_for("listening at")
    ends_with(refused(here, "travel"), "the server's operator has shut the device out")
    assert here_again.terminate()[0] == 0
    assert bank.terminate()[0] == 0
    (said,) = re.findall(r"^round 1, travel: (.*)$", server.text, re.MULTILINE)
    seen(
        "A device is revoked in mid-round",
        said=f"gate.log: 401 revoked; round 1, travel: {said}",
        seconds=seconds,
        then="the run goes on without it; started again it ends with exit code 2 and says why",
    )


PATHS = (
    "/",
    "/v1/control/start-run",
    "/v1/control/list-nodes",
    "/v1/runtime/acquire-task",
    "/v1/runtime/pull-messages",
    "/v1/fleet/register-node",
    "/v1/fleet/../control/start-run",
    "/v1/fleet/%2e%2e/control/start-run",
    "/v1/fleet/pull-messages/../../control/start-run",
    "/flwr.proto.Control/StartRun",
    "/flwr.proto.Runtime/AcquireTask",
    "/docs",
    "/openapi.json",
)


def status_without_secret(address: str, ca: bytes) -> int | None:
    """What a process of this machine gets that asks for a task, and does not know the secret."""
    for trusted in (ca, None):  # a SuperLink's port; a SuperNode's, which has no TLS
        api = RuntimeApi(address, trusted, b"a guess" * 10)
        try:
            api.acquire(TaskType.CLIENT_APP)
        except EngineLost as lost:
            if lost.status is not None:
                return lost.status
        finally:
            api.close()
    return None


def test_only_the_gate_is_reached_from_outside_and_it_passes_on_no_other_interface(site):
    here = site()
    port = split_address(here.network.listen)[1]
    server = here.server("--set", f"network.listen=0.0.0.0:{port}")
    server.wait_for("listening at")
    bank = here.device("bank")
    server.wait_for("1 of 2 devices are connected")

    context = ssl.create_default_context(cafile=str(here.state / "certificates" / "ca.pem"))
    with httpx.Client(verify=context, base_url=f"https://localhost:{port}") as client:
        assert client.get("/health").status_code == 200
        found = {
            (method, path): client.request(method, path).status_code
            for path in PATHS
            for method in ("GET", "POST")
        }
        assert found == dict.fromkeys(found, 404)
        assert client.post("/v1/fleet/pull-messages").status_code == 401

    listening = {
        (process.pid == server.process.pid, each.laddr.ip, each.laddr.port)
        for process in marked(here.mark)
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    assert (True, "0.0.0.0", port) in listening
    others = listening - {(True, "0.0.0.0", port)}
    assert len(others) >= 2  # a SuperLink and a SuperNode
    assert {host for _, host, _ in others} == {"127.0.0.1"}

    ca = (here.state / "loopback" / "ca.pem").read_bytes()
    assert {status_without_secret(f"{host}:{inner}", ca) for _, host, inner in others} == {401}
    assert bank.terminate()[0] == 0
    assert server.terminate()[0] == 0
    here.wait_until_empty()
