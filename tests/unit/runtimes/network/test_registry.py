"""The registry's file, with other processes at it. Enrolling is tested through the gate."""

import json
import stat
import subprocess
import sys
import threading

import pytest

from coplms.errors import ConfigError, ConsortiumError
from coplms.runtimes.network.entries import Reason
from coplms.runtimes.network.keys import device_key
from coplms.runtimes.network.registry import Registry


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "state" / "registry.json")


def issue(registry, certificates, name="law"):
    return registry.issue(
        name, consortium="lab", address="lab:8710", ca=certificates.ca_pem, days=1
    )


def enrolled(registry, certificates, tmp_path, name="law") -> str:
    key = device_key(tmp_path / "keys" / name).public.openssh
    registry.enrol(issue(registry, certificates, name).invitation, key)
    return key


def test_only_the_owner_reads_it(registry):
    folder = registry.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert names == {"registry.json": 0o600, "registry.secret": 0o600}


def test_it_is_found_again(registry, certificates, tmp_path):
    key = enrolled(registry, certificates, tmp_path)
    unused = issue(registry, certificates, "finance").invitation
    again = Registry(registry.path)
    assert again.admits(key) == "law"
    other = device_key(tmp_path / "keys" / "finance").public.openssh
    assert again.enrol(unused, other).name == "finance"


def test_a_change_by_another_process_is_noticed(registry, certificates, tmp_path):
    key = enrolled(registry, certificates, tmp_path)
    assert registry.admits(key) == "law"
    code = (
        "import sys; from pathlib import Path\n"
        "from coplms.runtimes.network.registry import Registry\n"
        "Registry(Path(sys.argv[1])).revoke('law')"
    )
    subprocess.run([sys.executable, "-c", code, registry.path], check=True)
    assert registry.admits(key).reason is Reason.REVOKED
    assert registry.admits(key).device == "law"


def test_a_change_by_another_object_is_noticed_at_once(registry, certificates, tmp_path):
    key = enrolled(registry, certificates, tmp_path)
    other = Registry(registry.path)
    for _ in range(20):
        other.revoke("law")
        assert registry.admits(key).reason is Reason.REVOKED
        other.enrol(issue(other, certificates).invitation, key)
        assert registry.admits(key) == "law"


def test_changes_at_once_are_all_kept(registry, certificates):
    others = [Registry(registry.path) for _ in range(4)]

    def work(number: int) -> None:
        for turn in range(5):
            issue(others[number], certificates, f"device-{number}-{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.devices()) == 20


def test_a_node_id_belongs_to_a_key(registry, certificates, tmp_path):
    key = enrolled(registry, certificates, tmp_path)
    registry.set_node_id("law", 42)
    assert registry.devices()["law"].node_id == 42
    registry.enrol(issue(registry, certificates).invitation, key)
    assert registry.devices()["law"].node_id == 42
    new = device_key(tmp_path / "keys" / "new").public.openssh
    registry.enrol(issue(registry, certificates).invitation, new)
    assert registry.devices()["law"].node_id is None


def test_unknown_names_are_refused_with_those_known(registry, certificates):
    issue(registry, certificates, "law")
    with pytest.raises(ConsortiumError, match=r"no device 'lav'\. Known: law\."):
        registry.revoke("lav")
    with pytest.raises(ConsortiumError, match="no device"):
        registry.set_node_id("lav", 1)


def test_a_broken_file_lets_nobody_in_until_it_is_mended(registry, certificates, tmp_path):
    key = enrolled(registry, certificates, tmp_path)
    good = registry.path.read_text()
    entry = json.loads(good)
    entry["devices"]["law"]["more"] = 1
    for text in ("", "[]", json.dumps(entry)):
        registry.path.write_text(text)
        with pytest.raises(ConfigError, match="missing or broken"):
            registry.admits(key)
        with pytest.raises(ConfigError, match="missing or broken"):
            issue(registry, certificates)
        with pytest.raises(ConfigError, match="missing or broken"):
            Registry(registry.path)
        assert registry.path.read_text() == text
    registry.path.unlink()
    with pytest.raises(ConfigError, match="missing or broken"):
        registry.admits(key)
    registry.path.write_text(good)
    assert registry.admits(key) == "law"


def test_a_broken_secret_is_named(registry):
    registry.path.with_suffix(".secret").write_bytes(b"short")
    with pytest.raises(ConfigError, match="is no secret"):
        Registry(registry.path)


def test_asking_costs_little(registry, certificates, tmp_path):
    import time

    key = enrolled(registry, certificates, tmp_path)
    start = time.perf_counter()
    for _ in range(1000):
        registry.admits(key)
    assert time.perf_counter() - start < 0.5
