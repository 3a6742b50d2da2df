"""What every link promises, at the level of bytes; and what only a network can go wrong with."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from coplms.runtimes.local import LocalLink
from coplms.transport.link import Link

pytest.importorskip("flwr", reason="needs pip install 'coplms[flower]'")

from tests.integration import flower_parts as parts

NAMES = ["clinic", "court", "bank"]
ABSENT = "mill"
LONGEST = 13_000_000
"""Bytes of a message that a device takes over a network."""


@dataclass(frozen=True)
class Linked:
    """A link with three devices that answer.

    Attributes:
        server_folder: What the server has written; None in-process.
        devices: Folders of the devices; None in-process.
    """

    link: Link
    server_folder: Path | None = None
    devices: Path | None = None


@pytest.fixture(scope="module")
def local():
    return Linked(LocalLink(parts.toy, NAMES, strict=False))


@pytest.fixture(scope="module")
def flower(tmp_path_factory):
    from coplms.runtimes.flower.device import FlowerDevice
    from coplms.runtimes.flower.link import FlowerLink
    from coplms.runtimes.flower.superlink import SuperLink

    folder = tmp_path_factory.mktemp("flower")
    tls = parts.make_tls(folder / "tls")
    superlink = SuperLink(folder / "server", tls)
    superlink.start()
    stop = threading.Event()
    threads = []
    for name in [*NAMES, ABSENT]:
        key = folder / "keys" / name
        superlink.register(parts.make_key(key), name)
        if name != ABSENT:
            device = FlowerDevice(
                folder / name,
                superlink.address,
                tls.ca,
                key,
                name,
                parts.toy(name),
                lambda: LONGEST,
            )
            threads.append(threading.Thread(target=device.serve, args=[stop]))
            threads[-1].start()
    link = FlowerLink(superlink, return_seconds=5)
    try:
        parts.wait_for(lambda: link.present() == set(NAMES), 40, "all devices connected")
        yield Linked(link, folder / "server", folder)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        superlink.close()


@pytest.fixture(params=["local", "flower"])
def linked(request):
    return request.getfixturevalue(request.param)


def exchange(linked, message, names=NAMES, seconds=60.0, max_bytes=20_000_000):
    replies = [
        (reply.device, parts.outcome(reply))
        for reply in linked.link.exchange(message, names, seconds, max_bytes)
    ]
    assert sorted(name for name, _ in replies) == sorted(names)  # one each
    return dict(replies)


def test_every_registered_device_that_is_there_is_present(linked):
    assert linked.link.present() == set(NAMES)


def test_a_reply_that_is_too_long_is_invalid(linked):
    came = exchange(linked, os.urandom(300_000), max_bytes=100_000)
    assert came == dict.fromkeys(NAMES, "invalid")
    assert exchange(linked, b"short", max_bytes=100_000) == dict.fromkeys(NAMES, b"short")


@pytest.mark.parametrize("size", [0, 1, 12_000_000])
def test_bytes_arrive_equal(linked, size):
    message = os.urandom(size)
    for answer in exchange(linked, message).values():
        assert answer == message


def test_a_message_that_is_too_long_for_a_device_is_refused_and_the_next_is_answered(flower):
    assert exchange(flower, os.urandom(LONGEST + 100_000)) == dict.fromkeys(NAMES, "error")
    log = (flower.devices / "bank" / "transport.log").read_text()
    assert f"more than {LONGEST} bytes" in log
    assert set(exchange(flower, b"afterwards").values()) == {b"afterwards"}


def test_bytes_that_repeat_arrive_equal(linked):
    message = b"0" * 11_000_000  # the same piece twice, to a store that keeps each piece once
    assert set(exchange(linked, message, NAMES[:1]).values()) == {message}


def test_a_reply_is_attributed_to_its_device(linked):
    assert exchange(linked, b"name") == {name: name.encode() for name in NAMES}


def test_only_the_chosen_devices_are_asked(linked):
    assert exchange(linked, b"name", NAMES[1:]) == {name: name.encode() for name in NAMES[1:]}


def test_an_answer_that_raises_is_an_error_without_its_text(linked):
    answers = exchange(linked, b"fail:court")
    assert answers == {"clinic": b"fail:court", "court": "error", "bank": b"fail:court"}
    if linked.server_folder is not None:
        for file in linked.server_folder.rglob("*"):
            assert not file.is_file() or b"private text" not in file.read_bytes()


def test_a_slow_device_is_late_once_and_its_answer_never_shows_up(flower):
    linked = flower  # in-process, no deadline passes
    start = time.monotonic()
    answers = exchange(linked, b"sleep:bank 9", seconds=7.5)
    assert answers == {"clinic": b"sleep:bank 9", "court": b"sleep:bank 9", "bank": "late"}
    assert time.monotonic() - start < 11
    assert set(exchange(linked, b"afterwards").values()) == {b"afterwards"}


def test_an_absent_device_is_absent(flower):
    answers = exchange(flower, b"hello", [NAMES[0], ABSENT])
    assert answers == {NAMES[0]: b"hello", ABSENT: "absent"}


def test_a_name_that_nobody_knows_is_absent(linked):
    assert exchange(linked, b"hello", ["castle"]) == {"castle": "absent"}


# Processes that are killed


@dataclass(frozen=True)
class Process:
    """One of `flower_parts`, in a process of its own."""

    popen: subprocess.Popen
    folder: Path

    def children(self) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self.popen.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]


def start(role, folder, *arguments):
    folder.mkdir(exist_ok=True)
    with (folder / "process.log").open("ab") as log:
        command = [sys.executable, parts.__file__, role, str(folder), *map(str, arguments)]
        return Process(subprocess.Popen(command, stdout=log, stderr=log), folder)


@pytest.fixture
def processes():
    """Ends what a test has started; their children must follow."""
    started = []
    yield started
    children = [pid for process in started for pid in process.children()]
    for process in started:
        process.popen.kill()
        process.popen.wait()
    parts.wait_for(lambda: not any(map(is_alive, children)), 8, "orphans end")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def bare(tmp_path):
    """A SuperLink without devices."""
    from coplms.runtimes.flower.superlink import SuperLink

    superlink = SuperLink(tmp_path / "server", parts.make_tls(tmp_path / "tls"))
    superlink.start()
    yield superlink
    superlink.close()


def start_device(folder, superlink, name="clinic"):
    key, ca = folder / "keys" / name, folder / "tls" / "ca.crt"
    superlink.register(parts.make_key(key), name)
    return start("device", folder / name, superlink.address, ca, key, name)


def test_a_key_that_is_not_registered_is_refused(bare, tmp_path, processes):
    from coplms.runtimes.flower.link import FlowerLink

    key = tmp_path / "keys" / "thief"
    parts.make_key(key)
    ca = tmp_path / "tls" / "ca.crt"
    thief = start("device", tmp_path / "thief", bare.address, ca, key, "thief")
    processes.append(thief)
    log = thief.folder / "supernode.log"
    parts.wait_for(lambda: log.exists() and b"Failed to init" in log.read_bytes(), 20, "refusal")
    assert FlowerLink(bare).present() == frozenset()


@pytest.mark.slow
def test_a_supernode_that_is_killed_comes_back_and_answers(bare, tmp_path, processes):
    from coplms.runtimes.flower.link import FlowerLink

    device = start_device(tmp_path, bare)
    processes.append(device)
    link = FlowerLink(bare)
    parts.wait_for(link.present, 30, "connected")

    def kill():
        parts.wait_for((device.folder / "node-id").exists, 20, "the message arrived")
        time.sleep(1)
        (child,) = device.children()
        os.kill(child, signal.SIGKILL)

    threading.Thread(target=kill).start()
    begin = time.monotonic()
    replies = [parts.outcome(reply) for reply in link.exchange(b"sleep 4", ["clinic"], 100, 1000)]
    assert replies == [b"sleep 4"]
    assert time.monotonic() - begin < 40


@pytest.mark.slow
def test_a_superlink_that_is_killed_comes_back_and_the_exchange_goes_on(bare, tmp_path, processes):
    from coplms.runtimes.flower.link import FlowerLink

    device = start_device(tmp_path, bare)
    processes.append(device)
    link = FlowerLink(bare)
    parts.wait_for(link.present, 30, "connected")

    def kill():
        parts.wait_for((device.folder / "node-id").exists, 20, "the message arrived")
        os.kill(bare.pid, signal.SIGKILL)

    threading.Thread(target=kill).start()
    begin = time.monotonic()
    replies = [parts.outcome(reply) for reply in link.exchange(b"sleep 2", ["clinic"], 100, 1000)]
    assert replies == [b"sleep 2"]
    assert time.monotonic() - begin < 50


@pytest.mark.slow
def test_devices_come_back_to_a_server_that_was_killed_and_started_anew(tmp_path, processes):
    from coplms.runtimes.flower.loopback import free_port

    parts.make_tls(tmp_path / "tls")
    key = tmp_path / "keys" / "clinic"
    parts.make_key(key)
    port = free_port()
    server = start("server", tmp_path, port, 1000)
    device = start(
        "device",
        *[tmp_path / "clinic", f"127.0.0.1:{port}", tmp_path / "tls" / "ca.crt", key, "clinic"],
    )
    processes += [server, device]
    log = tmp_path / "process.log"
    parts.wait_for(lambda: log.read_bytes().count(b"true") >= 2, 60, "exchanges")
    children = server.children()
    os.kill(server.popen.pid, signal.SIGKILL)
    server.popen.wait()
    parts.wait_for(lambda: not any(map(is_alive, children)), 8, "its SuperLink ends")
    log.write_bytes(b"")
    processes.append(start("server", tmp_path, port, 1000))
    parts.wait_for(lambda: b"true" in log.read_bytes(), 40, "exchanges again")
    assert b"false" not in log.read_bytes()
