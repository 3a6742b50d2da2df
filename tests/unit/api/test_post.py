from pathlib import Path

from coplms.api.post import all_done
from coplms.api.recorder import Silent
from coplms.consortium.journal import Journal, Label


def test_what_far_devices_report_is_done_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "checkpoints", 0, Silent())
    journal.phase(Label(1, "server", "send"), lambda _: {})
    report = {"phases": [{"phase": "round-1/bank/dst"}, {"phase": "round-1/bank/saml"}]}
    journal.phase(Label(1, "server", "replies"), lambda _: {"reports": [report]})
    assert all_done(journal, tmp_path) == [
        "round-1/server/send",
        "round-1/server/replies",
        "round-1/bank/dst",
        "round-1/bank/saml",
    ]


def test_what_simulated_devices_have_done_is_in_their_folders(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "checkpoints", 0, Silent())
    device = Journal(tmp_path / "devices" / "bank" / "checkpoints", 0, Silent())
    device.phase(Label(1, "bank", "dst"), lambda _: {})
    assert all_done(journal, tmp_path) == ["round-1/bank/dst"]
