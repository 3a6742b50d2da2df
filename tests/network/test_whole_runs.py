"""Runs without a fault: nothing but the weights is compared, with those of `coplms train`."""

import re

import pytest

from coplms.consortium.messages import SMALL
from tests.network.sites import rows


def headings(page: str) -> list[str]:
    return re.findall(r"<h[1-3][^>]*>(.*?)</h[1-3]>", page, re.DOTALL)


def scores(run):
    """(When, member, model, scope) -> what was scored in the own scope.

    In a run on one machine the devices' test text is known, and stands in the server's, too.
    """
    names = ("when", "member", "model", "scope")
    return {
        tuple(row[name] for name in names): row["scope"] == "own" and row["exact_match"]
        for row in rows(run / "evaluation.jsonl")
    }


def test_one_command_runs_a_server_and_three_devices_to_the_report(site, reference):
    here = site(devices=3, rounds=3)
    here.homes = here.state / "local-devices"
    server = here.server("--local-devices", "3")
    server.finish()
    here.wait_until_empty()

    assert server.says(r"^Report: ")
    alone = reference.run(devices=3, rounds=3)
    page = (here.run / "report.html").read_text()
    assert headings(page) == headings((alone / "report.html").read_text())
    assert here.tuned() == reference.tuned(devices=3, rounds=3)
    assert len(here.tuned()) > 30

    assert scores(here.run) == scores(alone)
    once = dict.fromkeys(here.ledger("up"), 1)
    assert here.ledger("up") == here.ledger("down") == once
    assert set(once) == {(number, name) for number in range(5) for name in here.names}
    downloads = [row["bytes"] for row in rows(here.run / "ledger.jsonl") if row["round"] > 0]
    limits = [int(f.read_text()) for f in here.homes.glob("*/state/runs/*/longest-message")]
    assert len(limits) == 3
    assert max(downloads) < min(limits) <= max(limits) < max(downloads) + SMALL


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_second_run_of_the_same_models_sends_no_weights_again(site, reference, tuning):
    here = site(tuning=tuning)
    devices = here.devices()
    here.server().finish()
    second = here.folder / "second"
    here.server(run=second).finish()
    for device in devices.values():
        assert device.terminate()[0] == 0
    here.wait_until_empty()

    assert here.tuned() == reference.tuned(tuning=tuning)
    assert here.tuned(second) == reference.tuned(tuning=tuning)
    fetched = [
        {
            row["device"]: sum(n for name, n in row["content"].items() if name.startswith("file/"))
            for row in rows(run / "ledger.jsonl")
            if row["round"] == 0 and row["direction"] == "down"
        }
        for run in (here.run, second)
    ]
    weights = sum(path.stat().st_size for path in (here.run / "dpm").iterdir())
    assert fetched == [dict.fromkeys(here.names, weights), dict.fromkeys(here.names, 0)]
