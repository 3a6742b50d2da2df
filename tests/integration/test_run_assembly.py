"""The learners that a configuration asks for: their parts, and what of them can be trained."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from coplms.api.assemble import Assembler
from coplms.config.model import TuningConfig, ZooConfig
from coplms.config.run import RunConfig
from coplms.consortium.members import DOMAIN, OWN, SHARED
from coplms.errors import ConfigError
from coplms.models.adapters import active_adapters
from coplms.models.zoo import build_zoo
from coplms.training.learner import Learner

TEXT = ["pay the bill of the shop", "book a flight to the sea"] * 30
MODEL = {"vocab_size": 300, "hidden_size": 16, "heads": 2, "layers": 1, "steps": 0}
ZOO = {"models": [{"name": "tiny", "architecture": "llama", "tokenizer": "byte_bpe", **MODEL}]}
METHOD = {
    "rounds": 3,
    "dst": {"steps": 5, "last_steps": 5},
    "saml": {"steps": 7, "proxy_steps": 2, "server_steps": 4},
    "transfer": {"steps": 11, "server_steps": 13},
}

MakeAssembler = Callable[..., Assembler]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_zoo(ZooConfig.model_validate(ZOO), TEXT, tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def make(zoo: dict[str, Path]) -> MakeAssembler:
    def assemble(
        kind: str = "lora", server_proxy: str = "freeze", distill: Mapping[str, object] = {}
    ) -> Assembler:
        saml = {**METHOD["saml"], "server_proxy": server_proxy}
        config = RunConfig.model_validate(
            {
                "llm": {"model": "mini/tiny"},
                "devices": [{"name": "bank", "slm": {"model": "mini/tiny"}}],
                "data": {"pool": {"train": {"path": "demo", "format": "demo"}, "max_test": 60}},
                "tuning": {"kind": kind, "rank": 2, "alpha": 4},
                "dpm": {"domain_rank": 3},
                "method": {**METHOD, "saml": saml, "distill": distill},
                "optimizer": {"learning_rate": 0.1, "proxy_learning_rate": 0.2},
                "device": "cpu",
            }
        )
        return Assembler(config, zoo)

    return assemble


def takes_gradients(learner: Learner) -> bool:
    return any(parameter.requires_grad for parameter in learner.model.network.parameters())


@pytest.mark.parametrize(("kind", "num_active"), [("lora", 1), ("full", 0)])
def test_a_model_of_its_own_has_one_part_and_is_frozen_until_a_phase(
    make: MakeAssembler, kind: str, num_active: int
) -> None:
    assembler = make(kind)
    learner = assembler.own(assembler.config.llm, "llm", 9, "server/llm")
    (part,) = learner.parts.values()
    assert learner.parts.keys() == {OWN}
    assert (part.name, part.planned_steps, part.learning_rate) == ("server/llm", 9, 0.1)
    assert len(active_adapters(learner.model)) == num_active
    assert not takes_gradients(learner)
    own = {id(parameter) for parameter in part.parameters.values()}
    everything = {id(parameter) for parameter in learner.model.network.parameters()}
    assert (own == everything) == (kind == "full")


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_parts_of_a_proxy_are_disjoint_and_frozen_until_a_phase(
    make: MakeAssembler, zoo: dict[str, Path], kind: str
) -> None:
    device = make(kind).proxy(zoo["tiny"], "bank")
    server = make(kind).proxy(zoo["tiny"], "server")
    assert device.parts.keys() == {SHARED, DOMAIN}
    assert server.parts.keys() == {SHARED}
    assert device.shared_is_adapter == server.shared_is_adapter == (kind == "lora")
    shared, domain = device.parts[SHARED], device.parts[DOMAIN]
    assert not {id(p) for p in shared.parameters.values()} & {
        id(p) for p in domain.parameters.values()
    }
    assert not takes_gradients(device)
    assert not takes_gradients(server)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_every_members_shared_part_starts_alike(
    make: MakeAssembler, zoo: dict[str, Path], kind: str
) -> None:
    values = [
        make(kind).proxy(zoo["tiny"], member).parts[SHARED].values()
        for member in ("server", "bank", "law")
    ]
    for other in values[1:]:
        assert other.keys() == values[0].keys()
        assert all(torch.equal(other[name], values[0][name]) for name in other)


@pytest.mark.parametrize(("server_proxy", "on_server"), [("freeze", 0), ("train", 3 * 4)])
def test_schedules_end_with_the_last_planned_step(
    make: MakeAssembler, zoo: dict[str, Path], server_proxy: str, on_server: int
) -> None:
    assembler = make(server_proxy=server_proxy)
    device = assembler.proxy(zoo["tiny"], "bank")
    assert device.parts[SHARED].planned_steps == 3 * (7 + 2)
    assert device.parts[DOMAIN].planned_steps == 3 * 5 + 5
    assert device.parts[SHARED].learning_rate == device.parts[DOMAIN].learning_rate == 0.2
    assert assembler.proxy(zoo["tiny"], "server").parts[SHARED].planned_steps == on_server
    assert assembler.config.method.device_steps == 3 * 7 + 11
    assert assembler.config.method.server_steps == 3 * 4 + 13


@pytest.mark.parametrize(("given", "expected"), [(None, 0.2), (0.05, 0.05)])
def test_distillation_trains_all_of_the_dpm_at_a_rate_of_its_own(
    make: MakeAssembler, given: float | None, expected: float
) -> None:
    assembler = make("lora", distill={"steps": 6, "learning_rate": given})
    model = assembler.load(assembler.config.llm, "dpm", torch.device("cpu"))
    (part,) = assembler.student(model).parts.values()
    assert (part.planned_steps, part.learning_rate) == (6, expected)
    assert {id(p) for p in part.parameters.values()} == {id(p) for p in model.network.parameters()}


def test_the_domain_adapter_has_a_rank_of_its_own(
    make: MakeAssembler, zoo: dict[str, Path]
) -> None:
    device = make().proxy(zoo["tiny"], "bank")
    for name, rank in ((SHARED, 2), (DOMAIN, 3)):
        tensors = device.parts[name].values()
        ranks = {value.shape[0] for key, value in tensors.items() if ".lora_A." in key}
        assert ranks == {rank}


def test_a_model_may_be_tuned_otherwise_than_the_run(make: MakeAssembler) -> None:
    assembler = make("lora")
    config = assembler.config.llm.model_copy(update={"tuning": TuningConfig(kind="full")})
    assert active_adapters(assembler.own(config, "llm", 1, "server/llm").model) == ()


def test_an_unknown_mini_model_is_refused_with_those_that_exist(make: MakeAssembler) -> None:
    with pytest.raises(ConfigError, match=r"'mini/huge' is not a mini model .* Known: mini/tiny"):
        make().path("mini/huge")
    assert make().path("organisation/name") == "organisation/name"
