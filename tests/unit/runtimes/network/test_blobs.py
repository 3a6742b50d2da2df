"""Offered files, from the gate to a device's disk, through what goes wrong on the way."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from coplms.errors import ConsortiumError, RunError
from coplms.runtimes.network.blobs import BLOBS
from coplms.runtimes.network.cache import BlobCache
from coplms.runtimes.network.client import (
    AccessRefusedError,
    ServerAbsentError,
    ServerIdentityError,
)
from coplms.runtimes.network.fetch import Source, fetch_blob
from coplms.runtimes.network.signing import sign_request

CONTENT = bytes(range(256)) * 20_000  # 5 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)


@pytest.fixture
def offered(site, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(CONTENT)
    site.gate.offer({DIGEST: path})
    return path


def get(site, key, digest: str = DIGEST, method: str = "GET", **headers: str):
    signed = sign_request(key, method, BLOBS + digest)
    with site.client() as client:
        return client.request(method, BLOBS + digest, headers={**signed, **headers})


def pump(source: socket.socket, sink: socket.socket, left: float) -> None:
    """Carry so many bytes over, then end both ways."""
    with suppress(OSError):
        while left > 0 and (data := source.recv(65536)):
            sink.sendall(data)
            left -= len(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def relay(listening: socket.socket, port: int, cut_after: list[int], stop: threading.Event) -> None:
    threads, ends = [], []
    while not stop.is_set():
        try:
            near = listening.accept()[0]
        except TimeoutError:
            continue
        far = socket.create_connection(("127.0.0.1", port))
        ends += [near, far]
        left = cut_after.pop(0) if cut_after else float("inf")
        for arguments in ((near, far, float("inf")), (far, near, left)):
            threads.append(threading.Thread(target=pump, args=arguments))
            threads[-1].start()
    for thread in threads:
        thread.join()
    for end in ends:
        end.close()


@contextmanager
def shaky(port: int, cut_after: list[int]) -> Iterator[int]:
    """A way to a port that breaks after so many bytes downwards, once for each entry."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        thread = threading.Thread(target=relay, args=(listening, port, cut_after, stop))
        thread.start()
        yield listening.getsockname()[1]
        stop.set()
        thread.join()


def test_a_file_arrives_whole_and_is_counted(site, offered, tmp_path):
    key, target = site.join(), tmp_path / "fetched"
    before = site.gate.wire_bytes("law")[0]
    fetch_blob(site.source(key), DIGEST, SIZE, target)
    assert target.read_bytes() == CONTENT
    assert not target.with_name("fetched.part").exists()
    assert site.gate.fetched("law") == {DIGEST: SIZE}
    assert SIZE < site.gate.wire_bytes("law")[0] - before < SIZE + 1000
    assert site.gate.fetched("nobody") == {}


def test_an_empty_file_arrives(site, tmp_path):
    path = tmp_path / "empty"
    path.touch()
    digest = hashlib.sha256(b"").hexdigest()
    site.gate.offer({digest: path})
    fetch_blob(site.source(site.join()), digest, 0, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b""


def test_ranges(site, offered):
    key = site.join()
    assert get(site, key).content == CONTENT
    answer = get(site, key, range="bytes=10-19")
    assert (answer.status_code, answer.content) == (206, CONTENT[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{SIZE}"
    assert get(site, key, range=f"bytes={SIZE - 3}-").content == CONTENT[-3:]
    assert get(site, key, range=f"bytes={SIZE - 3}-{SIZE * 2}").content == CONTENT[-3:]
    for bad in (f"bytes={SIZE}-", "bytes=5-4", "bytes=-5", "bytes=0-1,3-4", "bytes=a-", "x", ""):
        assert get(site, key, range=bad).status_code == 416
    head = get(site, key, method="HEAD")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(SIZE), b"")


def test_only_devices_that_are_let_in_fetch(site, offered, tmp_path):
    stranger = site.key("stranger")
    with pytest.raises(AccessRefusedError, match="does not know this device's key"):
        fetch_blob(site.source(stranger), DIGEST, SIZE, tmp_path / "fetched")
    key = site.join()
    site.registry.revoke("law")
    with pytest.raises(AccessRefusedError, match="shut the device out"):
        fetch_blob(site.source(key), DIGEST, SIZE, tmp_path / "fetched")
    with site.client() as client:
        assert client.get(BLOBS + DIGEST).status_code == 401
    assert not (tmp_path / "fetched").exists()


def test_a_key_that_is_too_old_fetches_nothing(make_site, tmp_path):
    site = make_site(key_days=1)
    key = site.join()
    site.clock.ahead = 90_000
    with pytest.raises(AccessRefusedError, match="too old"):
        fetch_blob(site.source(key), DIGEST, SIZE, tmp_path / "fetched")


def test_stale_replayed_and_borrowed_signatures_are_refused(site, offered):
    key, path = site.join(), BLOBS + DIGEST
    with site.client() as client:

        def status(headers: dict[str, str], method: str = "GET", to: str = path):
            answer = client.request(method, to, headers=headers)
            return answer.status_code, None if answer.is_success else answer.json()["reason"]

        signed = sign_request(key, "GET", path)
        assert status(signed) == (200, None)
        assert status(signed) == (401, "signature")
        for shift in (-400, 400):
            late = sign_request(key, "GET", path, clock=lambda by=shift: time.time() + by)
            assert status(late) == (401, "clock")
        other = sign_request(key, "GET", BLOBS + "0" * 64)
        assert status(other) == (401, "signature")
        assert status({**sign_request(key, "HEAD", path)}) == (401, "signature")
        moved = {**sign_request(key, "GET", path), "coplms-timestamp": str(int(time.time() * 1e6))}
        assert status(moved) == (401, "signature")
        thief = sign_request(site.key("thief"), "GET", path)
        assert status({**thief, "coplms-public-key": key.public.openssh}) == (401, "signature")


def test_what_was_not_offered_is_refused(site, offered, tmp_path):
    key = site.join()
    with pytest.raises(AccessRefusedError, match="does not offer"):
        fetch_blob(site.source(key), "0" * 64, 10, tmp_path / "fetched")
    names = ("..%2fregistry.json", DIGEST.upper(), DIGEST + "/", DIGEST[:-1], DIGEST + "?a=b", "")
    for name in names:
        assert get(site, key, name).status_code in (401, 404)


def test_only_files_that_are_there_can_be_offered(site, tmp_path):
    with pytest.raises(ConsortiumError, match="missing"):
        site.gate.offer({DIGEST: tmp_path / "absent"})
    with pytest.raises(ValueError, match="SHA-256"):
        site.gate.offer({"../x": tmp_path})


def test_a_download_goes_on_after_cuts_and_nothing_is_sent_twice(site, offered, tmp_path):
    key, target = site.join(), tmp_path / "fetched"
    pauses: list[float] = []
    with shaky(site.port, [SIZE // 3, SIZE // 3, 0]) as port:
        source = Source(f"localhost:{port}", site.certificates.ca_pem, key)
        fetch_blob(source, DIGEST, SIZE, target, sleep=pauses.append)
    assert target.read_bytes() == CONTENT
    assert len(pauses) == 3
    # what lay in sockets' buffers when a connection was cut was sent and lost
    assert SIZE <= site.gate.fetched("law")[DIGEST] < SIZE * 1.9


def test_a_download_goes_on_after_a_restart(site, offered, tmp_path):
    key, target = site.join(), tmp_path / "fetched"
    target.with_name("fetched.part").write_bytes(CONTENT[: SIZE - 1000])
    fetch_blob(site.source(key), DIGEST, SIZE, target)
    assert target.read_bytes() == CONTENT
    assert site.gate.fetched("law") == {DIGEST: 1000}


def test_a_download_that_was_whole_is_only_checked(site, offered, tmp_path):
    key, target = site.join(), tmp_path / "fetched"
    target.with_name("fetched.part").write_bytes(CONTENT)
    fetch_blob(site.source(key), DIGEST, SIZE, target)
    assert target.read_bytes() == CONTENT
    assert site.gate.fetched("law") == {}


@pytest.mark.parametrize("rest", [b"x" * 1000, CONTENT + b"x"])
def test_a_wrong_rest_of_an_earlier_download_is_fetched_anew(site, offered, tmp_path, rest):
    key, target = site.join(), tmp_path / "fetched"
    target.with_name("fetched.part").write_bytes(rest)
    fetch_blob(site.source(key), DIGEST, SIZE, target)
    assert target.read_bytes() == CONTENT


def test_wrong_content_on_the_servers_disk_is_never_taken(site, offered, tmp_path):
    key, target = site.join(), tmp_path / "fetched"
    offered.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(ConsortiumError, match="twice with another content"):
        fetch_blob(site.source(key), DIGEST, SIZE, target)
    assert not target.exists()
    assert not target.with_name("fetched.part").exists()
    assert site.gate.fetched("law") == {DIGEST: 2 * SIZE}


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_a_file_of_another_size_is_not_fetched(site, offered, tmp_path, size):
    key, target = site.join(), tmp_path / "fetched"
    with pytest.raises(ConsortiumError, match=f"should be {size} bytes"):
        fetch_blob(site.source(key), DIGEST, size, target)
    assert not target.exists()
    assert site.gate.fetched("law").get(DIGEST, 0) <= 1_000_000


def test_a_file_that_became_shorter_ends_the_download(site, offered, tmp_path):
    key = site.join()
    offered.write_bytes(CONTENT[:1000])
    with pytest.raises(ConsortiumError, match="should be"):
        fetch_blob(site.source(key), DIGEST, SIZE, tmp_path / "fetched")
    offered.unlink()
    with pytest.raises(ServerAbsentError, match="file missing"):
        fetch_blob(
            site.source(key),
            DIGEST,
            SIZE,
            tmp_path / "fetched",
            patience_seconds=0,
        )


def test_patience_ends_where_nothing_comes(site, tmp_path):
    key, pauses = site.join(), []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    source = Source(f"localhost:{free}", site.certificates.ca_pem, key)
    with pytest.raises(ServerAbsentError, match="Nothing came for"):
        fetch_blob(source, DIGEST, SIZE, tmp_path / "fetched", sleep=pauses.append)
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert sum(pauses) >= 600
    assert max(pauses) == 30


def test_another_server_gets_nothing(site, offered, tmp_path):
    from coplms.runtimes.network.certificates import own_certificates

    foreign = own_certificates(tmp_path / "foreign", ["localhost"])
    source = Source(site.address, foreign.ca_pem, site.key())
    with pytest.raises(ServerIdentityError, match="not by the expected CA"):
        fetch_blob(source, DIGEST, SIZE, tmp_path / "fetched")


def test_a_disk_that_is_too_small_is_named(site, tmp_path):
    with pytest.raises(RunError, match="are free"):
        fetch_blob(site.source(site.key()), DIGEST, 2**60, tmp_path / "fetched")


def test_a_device_that_goes_away_ends_its_download(site, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**31)
    site.gate.offer({DIGEST: path})
    key = site.join()
    headers = sign_request(key, "GET", BLOBS + DIGEST)
    with site.client() as client, client.stream("GET", BLOBS + DIGEST, headers=headers) as answer:
        next(answer.iter_raw())
    time.sleep(0.2)
    once = site.gate.fetched("law")[DIGEST]
    time.sleep(0.2)
    assert site.gate.fetched("law")[DIGEST] == once < 2**27


def test_the_cache_fetches_each_file_once(site, offered, tmp_path):
    key = site.join()
    fetches = []

    def fetch(target) -> None:
        fetches.append(target)
        fetch_blob(site.source(key), DIGEST, SIZE, target)

    cache = BlobCache(tmp_path / "cache")
    path = cache.get(DIGEST, SIZE, fetch)
    assert cache.get(DIGEST, SIZE, fetch).read_bytes() == CONTENT
    assert BlobCache(tmp_path / "cache").get(DIGEST, SIZE, fetch) == path
    assert len(fetches) == 1
    path.write_bytes(b"x" + CONTENT[1:])  # seen by its digest in a new process
    BlobCache(tmp_path / "cache").get(DIGEST, SIZE, fetch)
    path.write_bytes(CONTENT[1:])  # seen by its size at once
    assert cache.get(DIGEST, SIZE, fetch).read_bytes() == CONTENT
    assert len(fetches) == 3


def test_the_cache_writes_to_no_other_folder(tmp_path):
    cache = BlobCache(tmp_path / "cache")
    for name in ("../../etc/passwd", "", "0" * 63, "0" * 64 + "\n", "A" * 64):
        with pytest.raises(ConsortiumError, match="SHA-256"):
            cache.get(name, 1, lambda target: None)
