import json
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from coplms.config.method import OptimizerConfig
from coplms.consortium.journal import Journal, Label, Result
from coplms.errors import RunError
from coplms.training.part import Part
from coplms.training.phases import Phase


class Witness:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.logged: list[tuple[str, dict[str, float]]] = []
        self.finished: list[tuple[str, bool]] = []

    def phase_started(self, name: str) -> None:
        self.started.append(name)

    def phase_logged(self, name: str, row: dict[str, float]) -> None:
        self.logged.append((name, row))

    def phase_finished(self, row: Result, *, again: bool) -> None:
        self.finished.append((row["phase"], again))


class KilledError(BaseException):
    """Ends a phase as a kill would: nothing catches it."""


def make_part(name: str = "bank/slm", value: float = 0.0) -> Part:
    return Part(name, {"w": nn.Parameter(torch.full((3,), value))}, OptimizerConfig(), 0.1, 10)


def set_to(part: Part, value: float) -> Result:
    part.load_values({"w": torch.full((3,), value)})
    return {"value": value}


def values(part: Part) -> list[float]:
    return part.values()["w"].tolist()


def states(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))


DST, SAML = Label(1, "bank", "dst"), Label(1, "bank", "saml")


def test_a_label_names_round_member_and_kind() -> None:
    assert DST.name == "round-1/bank/dst"


def test_a_phase_is_done_once(tmp_path: Path) -> None:
    times: list[int] = []

    def work(_: Phase) -> Result:
        times.append(1)
        return {"loss": 0.1 + 0.2}

    journal = Journal(tmp_path, 0, Witness())
    assert not journal.is_done(DST)
    assert journal.phase(DST, work) == journal.phase(DST, work) == {"loss": 0.1 + 0.2}
    witness = Witness()
    resumed = Journal(tmp_path, 0, witness)
    assert resumed.phase(DST, work) == {"loss": 0.1 + 0.2}
    assert len(times) == 1
    assert resumed.is_done(DST)
    assert resumed.done == ["round-1/bank/dst"]
    assert witness.finished == [("round-1/bank/dst", True)]
    assert witness.started == []


def test_the_observer_sees_a_phase_from_start_to_end(tmp_path: Path) -> None:
    witness = Witness()

    def work(phase: Phase) -> Result:
        phase.log({"step": 1.0})
        return {}

    Journal(tmp_path, 0, witness).phase(DST, work)
    assert witness.started == ["round-1/bank/dst"]
    assert witness.logged == [("round-1/bank/dst", {"step": 1.0})]
    assert witness.finished == [("round-1/bank/dst", False)]


def test_finished_phases_come_back_in_their_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0, Witness())
    labels = [Label(number, "bank", "dst") for number in range(12, 0, -1)]
    for label in labels:
        journal.phase(label, lambda _: {})
    assert Journal(tmp_path, 0, Witness()).done == [label.name for label in labels]


def test_a_part_is_restored_to_its_newest_state(tmp_path: Path) -> None:
    part, other = make_part(), make_part("bank/dpm-shared")
    journal = Journal(tmp_path, 0, Witness())
    journal.phase(DST, lambda _: set_to(part, 1.0), [part])
    journal.phase(SAML, lambda _: set_to(part, 2.0), [part, other])
    journal.phase(Label(1, "bank", "evaluate"), lambda _: {})
    fresh = make_part()
    Journal(tmp_path, 0, Witness()).restore(fresh)
    assert values(fresh) == [2.0, 2.0, 2.0]


def test_a_part_that_no_phase_changed_stays_as_it_is(tmp_path: Path) -> None:
    part = make_part(value=5.0)
    Journal(tmp_path, 0, Witness()).restore(part)
    assert values(part) == [5.0, 5.0, 5.0]


def test_older_states_are_removed_and_results_are_kept(tmp_path: Path) -> None:
    part, other = make_part(), make_part("server/llm")
    journal = Journal(tmp_path, 0, Witness())
    journal.phase(DST, lambda _: set_to(part, 1.0), [part, other])
    journal.phase(SAML, lambda _: set_to(part, 2.0), [part])
    assert states(tmp_path) == ["00000/server--llm.safetensors", "00001/bank--slm.safetensors"]
    assert len(list(tmp_path.glob("*/phase.json"))) == 2


def test_a_state_that_a_kill_left_behind_is_removed_at_the_next_start(tmp_path: Path) -> None:
    part = make_part()
    journal = Journal(tmp_path, 0, Witness())
    journal.phase(DST, lambda _: set_to(part, 1.0), [part])
    older = (tmp_path / "00000" / "bank--slm.safetensors").read_bytes()
    journal.phase(SAML, lambda _: set_to(part, 2.0), [part])
    (tmp_path / "00000" / "bank--slm.safetensors").write_bytes(older)
    Journal(tmp_path, 0, Witness()).restore(part)
    assert values(part) == [2.0, 2.0, 2.0]
    assert states(tmp_path) == ["00001/bank--slm.safetensors"]


@pytest.mark.parametrize("moment", ["in the work", "before the rename"])
def test_a_phase_that_was_killed_is_repeated_from_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    part = make_part()
    Journal(tmp_path, 0, Witness()).phase(DST, lambda _: set_to(part, 1.0), [part])

    def work(_: Phase) -> Result:
        result = set_to(part, values(part)[0] + 1)
        if moment == "in the work":
            raise KilledError
        return result

    def killed(*_: object) -> Path:
        raise KilledError

    with monkeypatch.context() as patched:
        if moment == "before the rename":
            patched.setattr(Path, "rename", killed)
        with pytest.raises(KilledError):
            Journal(tmp_path, 0, Witness()).phase(SAML, work, [part])
    assert bool(list(tmp_path.glob("tmp-*"))) == (moment == "before the rename")
    resumed, fresh = Journal(tmp_path, 0, Witness()), make_part()
    assert not list(tmp_path.glob("tmp-*"))
    assert resumed.done == [DST.name]
    resumed.restore(fresh)
    assert values(fresh) == [1.0, 1.0, 1.0]
    resumed.phase(SAML, lambda _: set_to(fresh, values(fresh)[0] + 1), [fresh])
    assert values(fresh) == [2.0, 2.0, 2.0]


def test_half_written_folders_are_no_phases(tmp_path: Path) -> None:
    torn = tmp_path / "tmp-00000"
    torn.mkdir()
    (torn / "phase.json").write_text('{"phase": "round-1/ba')
    (torn / "bank--slm.safetensors").write_bytes(b"\0" * 5)
    assert Journal(tmp_path, 0, Witness()).done == []
    assert not torn.exists()


def test_every_phase_has_a_seed_of_its_own_made_from_name_and_run(tmp_path: Path) -> None:
    def seed(run_seed: int, label: Label) -> int:
        found: list[int] = []

        def work(phase: Phase) -> Result:
            found.append(phase.seed)
            found.append(int(torch.randint(2**40, ())))
            return {}

        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        Journal(folder, run_seed, Witness()).phase(label, work)
        assert 0 <= found[0] < 2**63
        return hash(tuple(found))

    labels = [DST, SAML, Label(2, "bank", "dst"), Label(1, "law", "dst")]
    seeds = [seed(run, label) for run in (0, 1) for label in labels]
    assert len(set(seeds)) == 8
    assert seed(0, DST) == seeds[0]


def test_random_numbers_of_a_phase_do_not_depend_on_the_phases_before_it(tmp_path: Path) -> None:
    drawn: list[list[float]] = []

    def work(_: Phase) -> Result:
        drawn.append(torch.rand(3).tolist())
        return {}

    torch.rand(17)
    Journal(tmp_path / "a", 0, Witness()).phase(DST, work)
    torch.rand(5)
    Journal(tmp_path / "b", 0, Witness()).phase(DST, work)
    assert drawn[0] == drawn[1]


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(RunError, match="checkpoints: cannot hold checkpoints"):
        Journal(tmp_path / "checkpoints", 0, Witness())


def test_a_disk_error_is_told_with_the_phase_and_keeps_what_is_done(tmp_path: Path) -> None:
    part = Part("big", {"w": nn.Parameter(torch.zeros(100_000))}, OptimizerConfig(), 0.1, 10)
    journal = Journal(tmp_path, 0, Witness())
    journal.phase(DST, lambda _: {}, [part])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the disk takes no larger file
    try:
        with pytest.raises(RunError, match="the checkpoint of phase 'round-1/bank/saml' could not"):
            journal.phase(SAML, lambda _: {}, [part])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not journal.is_done(SAML)
    resumed = Journal(tmp_path, 0, Witness())
    assert resumed.done == [DST.name]
    resumed.restore(part)
    resumed.phase(SAML, lambda _: {}, [part])
    assert Journal(tmp_path, 0, Witness()).done == [DST.name, SAML.name]


@pytest.mark.parametrize("content", [None, "", '{"phase": "round', "\xff"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: str | None) -> None:
    Journal(tmp_path, 0, Witness()).phase(DST, lambda _: {})
    file = tmp_path / "00000" / "phase.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match="00000: is no finished phase"):
        Journal(tmp_path, 0, Witness())


def test_a_phases_line_says_what_reports_group_by(tmp_path: Path) -> None:
    part = make_part()
    Journal(tmp_path, 0, Witness()).phase(DST, lambda _: {"loss": 1.5}, [part])
    row = json.loads((tmp_path / "00000" / "phase.json").read_text())
    assert row.pop("seconds") >= 0
    assert row == {
        "phase": "round-1/bank/dst",
        "round": 1,
        "member": "bank",
        "kind": "dst",
        "result": {"loss": 1.5},
        "parts": ["bank/slm"],
    }


def test_no_two_parts_share_a_file(tmp_path: Path) -> None:
    names = ["a-b/slm", "a/slm", "a--b/slm", "a/dpm-shared", "server/llm"]
    parts = [make_part(name, float(number)) for number, name in enumerate(names)]
    Journal(tmp_path, 0, Witness()).phase(DST, lambda _: {}, parts)
    resumed = Journal(tmp_path, 0, Witness())
    for number, name in enumerate(names):
        fresh = make_part(name, -1.0)
        resumed.restore(fresh)
        assert values(fresh) == [float(number)] * 3
