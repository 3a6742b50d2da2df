"""`coplms.api.lock`: one process in a run's folder, and none for ever."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coplms.api import lock
from coplms.api.consortium import Consortium
from coplms.api.folder import check_folder
from coplms.api.lock import LOCK, hold
from coplms.config.run import RunConfig
from coplms.errors import ModelError, RunError

MakeConfig = Callable[..., RunConfig]

HOLDER = """
import sys, time
from pathlib import Path
from coplms.api.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def other_process(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(
    tmp_path: Path,
) -> None:
    process = other_process(tmp_path / "run")
    try:
        message = rf"run: process {process.pid} on .* is training into this folder\. Wait for it"
        with pytest.raises(RunError, match=message), hold(tmp_path / "run"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (tmp_path / "run" / LOCK).exists()
    with hold(tmp_path / "run"):
        assert f"process {os.getpid()} on" in (tmp_path / "run" / LOCK).read_text()


def test_a_run_does_not_start_where_another_goes_on(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    with hold(tmp_path / "run"), pytest.raises(RunError, match="is training into this folder"):
        Consortium(make_config(), tmp_path / "cache").train(tmp_path / "run")


def fail_in(folder: Path) -> None:
    with hold(folder):
        (folder / "config.yaml").touch()
        raise KeyError(folder)


def test_the_folder_is_free_again_after_the_block_even_if_that_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fail_in(tmp_path / "run")
    with hold(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_folder_in_which_nothing_was_written_is_removed_again(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    with hold(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()
    config = make_config(llm={"model": "./absent"})
    with pytest.raises(ModelError, match="there is no folder"):
        Consortium(config, tmp_path / "cache").train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_process_that_died_early_left_is_no_content(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOCK).touch()
    check_folder(folder, make_config())
    (folder / "thesis.tex").touch()
    with pytest.raises(RunError, match="is not empty and holds no run"):
        check_folder(folder, make_config())


def test_a_file_system_without_locks_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with hold(tmp_path / "run"):
        (tmp_path / "run" / "config.yaml").touch()
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"cannot be written to: .*\. Give another --output"
    with pytest.raises(RunError, match=message), hold(tmp_path / "file" / "run"):
        pass
