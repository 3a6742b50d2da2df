"""Whole runs of the baselines, on a tiny consortium: who learns from what, and what travels."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from coplms.api.ask import load_tuned, read_run_config
from coplms.api.check import check_run
from coplms.api.consortium import Consortium
from coplms.api.export import export_models
from coplms.api.parties import SimulatedParties
from coplms.api.post import Network
from coplms.api.schedule import plan
from coplms.cli.check import print_check
from coplms.config.load import load_config
from coplms.config.participation import draw_devices
from coplms.consortium.record import read_history
from coplms.errors import ConfigError
from coplms.report.html import render
from coplms.runtimes.local import LocalLink
from tests.integration.test_run import Quiet, write_config

METHODS = ("standalone", "centralised", "fedlora", "llm2slm", "fedcollm", "fedmkt")
DEVICES = ("bank", "travel")


class Found:
    """A run's folder, and the tensors of every message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: dict[tuple[int, str, str], dict[str, torch.Tensor]] = {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def states(self) -> dict[str, dict[str, torch.Tensor]]:
        """Part -> its newest checkpoint."""
        files = sorted((self.folder / "checkpoints").glob("*/*.safetensors"))
        return {path.stem.replace("--", "/"): load_file(path) for path in files}

    def steps(self) -> dict[str, int]:
        return {
            name: int(state["steps_taken"])
            for name, state in self.states().items()
            if "steps_taken" in state
        }


Train = Callable[..., Found]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Train:
    known: dict[str, Found] = {}

    def run(method: str, *settings: str, alike: bool = False) -> Found:
        settings = tuple(each for each in settings if each != "transport.form=lossless")
        key = json.dumps([method, settings, alike])
        if key not in known:
            folder = tmp_path_factory.mktemp(method)
            known[key] = listen(write(folder, alike), folder / "run", cache, method, *settings)
        return known[key]

    return run


def write(folder: Path, alike: bool) -> Path:
    path = write_config(folder)
    if alike:
        config = yaml.safe_load(path.read_text())
        config["devices"][1]["slm"] = config["devices"][0]["slm"]
        path.write_text(yaml.safe_dump(config))
    return path


def listen(
    path: Path,
    run: Path,
    cache: Path,
    method: str,
    *settings: str,
    observer: Quiet | None = None,
) -> Found:
    found = Found(run)
    carry = SimulatedParties.carry

    def tapped(
        parties: SimulatedParties, number: int, device: str, way: Any, tensors: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        arrived = carry(parties, number, device, way, tensors)
        found.messages[number, device, way] = {k: v.clone() for k, v in arrived.items()}
        return arrived

    settings = (f"method.name={method}", "evaluation.each_round=true", *settings)
    config = load_config(path, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedParties, "carry", tapped)
        Consortium(config, cache).train(run, observer)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_model_takes_as_many_steps_as_with_co_plms(train: Train, method: str) -> None:
    model = "dpm-shared" if method == "fedcollm" else "slm"
    wanted = {"server/llm": 2 * 2 + 2, f"bank/{model}": 2 * 3 + 3, f"travel/{model}": 2 * 3 + 3}
    if method == "fedcollm":
        wanted["server/dpm-shared"] = 2 * 2 + 2
    assert train(method).steps() == wanted


@pytest.mark.parametrize("method", METHODS)
def test_every_model_is_scored_before_after_and_between(train: Train, method: str) -> None:
    rows = train(method).rows("evaluation")
    counts = Counter((row["when"], row["member"], row["model"]) for row in rows)
    models = [("server", "llm"), ("bank", "slm"), ("travel", "slm")]
    whens = ("before", "round-1", "after")
    scopes = {"server": 1, "bank": 2, "travel": 2}
    assert counts == {(when, *model): scopes[model[0]] for when in whens for model in models}


@pytest.mark.parametrize("method", ["coplms", "standalone"])
def test_models_are_scored_before_tuning_only_where_wanted(train: Train, method: str) -> None:
    found = train(method, "evaluation.before=false", "alone=false")
    rows = {(row["when"], row["model"]) for row in found.rows("evaluation")}
    assert {("round-1", "llm"), ("after", "llm"), ("after", "slm")} <= rows
    assert "before" not in {when for when, _ in rows}
    phases = [row["phase"] for row in found.rows("phases")]
    assert [name for name in plan(read_run_config(found.folder)) if name not in phases] == []


@pytest.mark.parametrize("method", METHODS)
def test_the_tuned_models_are_folders_of_their_own(train: Train, method: str) -> None:
    folder = train(method).folder / "models"
    found = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("config.json")}
    assert found == {"server/llm", "bank/slm", "travel/slm"}


@pytest.mark.parametrize("method", ["standalone", "centralised"])
def test_without_exchange_nothing_travels(train: Train, method: str) -> None:
    assert train(method).rows("ledger") == []


@pytest.mark.parametrize(("method", "learns"), [("standalone", False), ("centralised", True)])
def test_only_centralised_a_device_learns_from_anothers_text(
    tmp_path: Path, cache: Path, method: str, learns: bool
) -> None:
    states = []
    for name in ("as it is", "changed"):
        path = write_config(tmp_path / name, token_in="travel")
        if name == "changed":
            text = tmp_path / name / "travel.jsonl"
            text.write_text(text.read_text().replace(" now", " soon"))
        states.append(listen(path, tmp_path / name / "run", cache, method).states()["bank/slm"])
    one, other = states
    assert all(torch.equal(one[name], other[name]) for name in one) != learns


def test_models_that_differ_are_not_averaged(train: Train) -> None:
    assert train("fedlora").messages == {}


def test_equal_models_get_the_mean_weighted_by_examples(train: Train) -> None:
    run = train("fedlora", alike=True)
    assert sorted(run.messages) == sorted(
        (number, name, way) for number in (1, 2) for name in DEVICES for way in ("up", "down")
    )
    for number in (1, 2):
        check_mean(run, number)
        bank, travel = (run.messages[number, name, "down"] for name in DEVICES)
        assert all(torch.equal(bank[name], travel[name]) for name in bank)
    states = run.states()
    for device in DEVICES:
        final = states[f"{device}/slm"]
        for name, value in run.messages[2, device, "down"].items():
            assert torch.equal(final[f"value/{name}"], value)


def test_a_device_that_was_not_drawn_gets_the_average_too(train: Train) -> None:
    run = train("fedlora", "method.participation=0.5", alike=True)
    ups = [(number, name) for number, name, way in run.messages if way == "up"]
    downs = {(number, name) for number, name, way in run.messages if way == "down"}
    assert ups == [(number, draw_devices(DEVICES, 0.5, 0, number)[0]) for number in (1, 2)]
    assert downs == {(number, name) for number in (1, 2) for name in DEVICES}
    (_, last), states = ups[-1], run.states()
    for device in DEVICES:
        for name, value in run.messages[2, last, "up"].items():
            assert torch.equal(states[f"{device}/slm"][f"value/{name}"], value)


def check_mean(run: Found, number: int) -> None:
    """The average of a round, by hand; in FedCoLLM the server trains it before it is sent."""
    sizes = {
        name: entry["train"]
        for name, entry in json.loads((run.folder / "data.json").read_text())["devices"].items()
    }
    ups = {name: run.messages[number, name, "up"] for name in sizes}
    total = sum(sizes.values())
    for name, value in run.messages[number, "bank", "down"].items():
        mean = sum(sizes[each] * ups[each][name].double() for each in sizes) / total
        assert torch.allclose(value.double(), mean, atol=1e-6)


def test_in_fedcollm_devices_send_the_proxy_and_get_its_mean_as_the_server_trained_it(
    train: Train,
) -> None:
    taught = train("fedcollm")
    untaught = train("fedcollm", "method.saml.server_steps=0", "method.transfer.server_steps=0")
    assert sorted(taught.messages) == sorted(untaught.messages)
    check_mean(untaught, 1)
    with pytest.raises(AssertionError):
        check_mean(taught, 1)
    first = taught.messages[1, "bank", "up"]
    assert {n: v.shape for n, v in first.items()} == {
        n: v.shape for n, v in untaught.messages[1, "bank", "down"].items()
    }


@pytest.mark.parametrize(("form", "rate"), [("bfloat16", 2), ("int8", 64 / 17)])
@pytest.mark.parametrize("method", ["fedlora", "fedcollm"])
def test_weights_travel_in_the_form_of_the_run(
    train: Train, method: str, form: str, rate: float
) -> None:
    whole, lossy = train(method, alike=True), train(method, f"transport.form={form}", alike=True)
    for one, other in zip(whole.rows("ledger"), lossy.rows("ledger"), strict=True):
        assert one["tensor_bytes"] / other["tensor_bytes"] == pytest.approx(rate, rel=0.01)
    exact, rounded = ends(whole), ends(lossy)
    lost = sum((exact[name] - value).square().sum() for name, value in rounded.items())
    assert 0 < lost < 0.01 * sum(value.square().sum() for value in exact.values())


def test_in_fedmkt_numbers_on_public_text_travel_and_no_weights(train: Train) -> None:
    run = train("fedmkt", "method.fedmkt.top_tokens=7")
    assert sorted(run.messages) == sorted(
        (number, name, way) for number in (1, 2) for name in DEVICES for way in ("up", "down")
    )
    num_public = json.loads((run.folder / "data.json").read_text())["server"]["train"]
    for message in run.messages.values():
        assert message.keys() == {"logits", "ids", "nats"}
        assert message["logits"].shape == message["ids"].shape
        assert message["logits"].shape[1] == 7
        assert message["nats"].shape == (num_public,)
    for entry in run.rows("ledger"):
        message = run.messages[entry["round"], entry["device"], entry["direction"]]
        tokens = len(message["logits"])
        assert entry["tensor_bytes"] == tokens * 7 * (4 + 4) + num_public * 4
        assert entry["tensor_bytes"] < entry["bytes"] < entry["tensor_bytes"] + 1000


def test_in_llm2slm_nothing_flows_back(train: Train) -> None:
    assert {way for _, _, way in train("llm2slm").messages} == {"down"}


@pytest.mark.parametrize(
    ("method", "phase", "form"),
    [
        ("fedmkt", "round-1/travel/tune", "lossless"),
        ("fedmkt", "round-2/server/learn", "lossless"),
        ("fedmkt", "round-2/travel/learn", "lossless"),
        ("fedcollm", "round-1/server/mutual", "lossless"),
        ("fedcollm", "round-2/travel/receive", "int8"),
        ("fedlora", "round-2/server/aggregate", "lossless"),
        ("fedlora", "round-2/server/aggregate", "int8"),
    ],
)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    train: Train, tmp_path: Path, cache: Path, method: str, phase: str, form: str
) -> None:
    class Stop(Quiet):
        def phase_started(self, name: str) -> None:
            if name.startswith(phase):
                raise KeyboardInterrupt

    setting = f"transport.form={form}"
    whole = train(method, setting, alike=True)
    path = write(tmp_path, alike=True)
    with pytest.raises(KeyboardInterrupt):
        listen(path, tmp_path / "run", cache, method, setting, observer=Stop())
    again = listen(path, tmp_path / "run", cache, method, setting)
    assert again.rows("ledger") == whole.rows("ledger")
    wanted, found = whole.states(), again.states()
    assert wanted.keys() == found.keys()
    for part, state in wanted.items():
        assert all(torch.equal(found[part][name], value) for name, value in state.items()), part


@pytest.mark.parametrize("tuning", ["full", "{kind: lora, rank: 2}"])
@pytest.mark.parametrize("method", ["fedmkt", "fedcollm"])
def test_the_tuned_models_can_be_asked_and_exported(
    train: Train, tmp_path: Path, method: str, tuning: str
) -> None:
    run = train(method, f"tuning={tuning}" if tuning != "full" else "tuning.kind=full")
    found = export_models(run.folder, tmp_path / "models")
    assert set(found) == {"server/llm", "bank/slm", "travel/slm"}
    for folder in found.values():
        assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 1000
    state = run.states()["bank/" + ("dpm-shared" if method == "fedcollm" else "slm")]
    model = load_tuned(run.folder, "bank")
    named = dict(model.network.named_parameters())
    for name, value in state.items():
        if name.startswith("value/") and "lora" not in name and tuning == "full":
            assert torch.equal(named[name.removeprefix("value/")], value)
    if tuning != "full":
        values = [value.abs().sum().item() for name, value in named.items() if "lora_B" in name]
        wanted = [v.abs().sum().item() for n, v in state.items() if "value/" in n and "lora_B" in n]
        assert sorted(values) == pytest.approx(sorted(wanted))
        assert max(wanted) > 0


def test_a_baseline_is_not_run_over_a_network(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ("method.name=fedmkt",))
    with pytest.raises(ConfigError, match="only simulated"):
        Consortium(config).serve(
            tmp_path / "run", Network(LocalLink(lambda _: bytes, [], strict=True))
        )


def test_the_report_and_a_dry_run_say_which_method_it_is(
    train: Train, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("fedmkt")
    assert "The baseline fedmkt with mini/llm" in render(read_history(run.folder))
    print_check(load_config(run.folder / "config.yaml"), cache)
    assert "method: fedmkt, a baseline" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("method", "alike", "form"),
    [
        *((method, False, "lossless") for method in METHODS),
        ("fedlora", True, "lossless"),
        ("fedlora", True, "int8"),
        ("fedcollm", True, "bfloat16"),
    ],
)
def test_a_dry_run_tells_a_baselines_parts_and_traffic(
    train: Train, cache: Path, method: str, alike: bool, form: str
) -> None:
    run = train(method, f"transport.form={form}", alike=alike)
    found = check_run(load_config(run.folder / "config.yaml"), cache)
    assert {part.name: part.steps for part in found.parts} == run.steps()
    sent = sum(row["tensor_bytes"] for row in run.rows("ledger"))
    # Of FedMKT and LLM2SLM by answers of average length.
    assert found.traffic.total == pytest.approx(sent, rel=0.05)
    assert (found.alone_steps, bool(found.distill_steps)) == (0, method == "fedcollm")


def test_a_method_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"method\.name"):
        load_config(write_config(tmp_path), ("method.name=fedprox",))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("method.dst.last_steps=0",), marks=pytest.mark.slow),
        ("method.saml.steps=0",),
        pytest.param(("method.saml.server_steps=0",), marks=pytest.mark.slow),
        pytest.param(("method.transfer.share=0",), marks=pytest.mark.slow),
        ("method.saml.direction=to_own",),
        pytest.param(("method.saml.direction=to_proxy",), marks=pytest.mark.slow),
        pytest.param(("method.saml.gate=none",), marks=pytest.mark.slow),
        ("method.saml.divergence=uld",),
        ("method.aggregation=product", "tuning={kind: lora, rank: 2}"),
    ],
    ids=lambda settings: settings[0].removeprefix("method."),
)
def test_every_part_of_co_plms_can_be_left_out_and_matters(
    train: Train, settings: tuple[str, ...]
) -> None:
    tuning = settings[1:]
    whole, without = train("coplms", *tuning), train("coplms", *settings)

    def scored(run: Found) -> set[tuple[str, str, str]]:
        return {(row["when"], row["member"], row["model"]) for row in run.rows("evaluation")}

    assert scored(without) == scored(whole)
    one, other = ends(whole), ends(without)
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_transfer_without_divergence_needs_the_proxys_answers_alone(train: Train) -> None:
    whole, without = train("coplms"), train("coplms", "method.transfer.weight=0")
    for run, has_proxy in ((whole, True), (without, False)):
        rows = [row for row in run.rows("phases") if row["kind"] == "transfer"]
        assert len(rows) == 3
        assert all(("left_ce" in row["metrics"]) is has_proxy for row in rows)
        assert all("loss" in row["metrics"] for row in rows)


def ends(run: Found) -> dict[str, torch.Tensor]:
    """The weights of all SLMs and the LLM at the end, adapters included."""
    files = [*(run.folder / "models").rglob("*.safetensors")]
    files += (run.folder / "adapters").rglob("*.safetensors")
    return {
        f"{path.relative_to(run.folder)}/{name}": value
        for path in files
        if "dpm" not in path.parts
        for name, value in load_file(path).items()
    }
