import os
import signal
import subprocess
import sys
import time

import pytest

from coplms.runtimes.flower.child import MAX_LOG_BYTES, Child

# In place of Flower's server: it ignores the polite signal if told so, and says that it runs.
SERVER = """
import signal, sys, threading, time
from coplms.runtimes.flower import launch
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Entry:
    def load(self):
        return lambda: (print("runs", flush=True), time.sleep(60))
launch.entry_points = lambda **_: (Entry(),)
launch.SECONDS_TO_CLOSE = 0.5
launch.main(["supernode"])
"""


def wait_for(claim):
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def child(tmp_path):
    child = Child("a server", ["supernode", "--version"], tmp_path / "a.log", tmp_path / "home")
    yield child
    child.stop()


def test_a_child_writes_to_its_log_and_ends(child):
    child.start()
    assert child.pid is not None
    wait_for(lambda: child.pid is None)
    assert "1.41" in child.log.read_text()


def test_a_child_that_has_ended_can_be_started_again(child):
    for times in (1, 2):
        child.start()
        wait_for(lambda: child.pid is None)
        assert child.log.read_text().count("Flower version") == times


def test_a_long_log_is_set_aside(child):
    child.log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    child.start()
    wait_for(lambda: child.pid is None)
    assert child.log.stat().st_size < 1000
    assert child.log.with_suffix(".old.log").stat().st_size > MAX_LOG_BYTES


@pytest.mark.parametrize("manner", ["polite", "stubborn"])
def test_a_server_ends_when_its_parent_is_killed(tmp_path, manner):
    parent_code = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {SERVER!r}, {manner!r}],"
        " stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == b"runs\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_alive(pid))
