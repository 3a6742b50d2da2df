"""Who is let in, over real TLS; each way in that should be shut is tried."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from coplms.runtimes.network.bundle import JoinBundle
from coplms.runtimes.network.client import AccessRefusedError, ServerAbsentError, enrol
from coplms.runtimes.network.enrolment import ENROL
from coplms.runtimes.network.keys import device_key
from coplms.runtimes.network.limits import Limits
from coplms.runtimes.network.signing import sign_request


def refusal(bundle: JoinBundle, key) -> str:
    with pytest.raises(AccessRefusedError) as caught:
        enrol(bundle, key)
    return caught.value.reason


def test_a_device_with_a_bundle_is_let_in(site):
    key = site.key()
    membership = enrol(site.bundle(), key)
    assert (membership.consortium, membership.device) == ("lab", "law")
    assert site.calls == [("law", key.public.openssh.encode())]
    assert site.registry.admits(key.public.openssh) == "law"


def test_the_same_key_may_enrol_again(site):
    bundle, key = site.bundle(), site.key()
    first = enrol(bundle, key)
    assert enrol(bundle, key) == first
    assert len(site.calls) == 2  # a SuperLink that has forgotten the key is told again


def test_the_same_key_may_enrol_again_after_the_bundle_is_void(site):
    bundle, key = site.bundle(), site.key()
    enrol(bundle, key)
    site.clock.ahead = 8 * 86400
    assert enrol(bundle, key).device == "law"


@pytest.mark.parametrize(
    "change",
    [
        {"device": "finance"},
        {"consortium": "other"},
        {"address": "localhost:1"},
        {"nonce": "0" * 32},
        {"ca_sha256": "0" * 64},
        {"token": "0" * 64},
    ],
)
def test_a_bundle_changed_in_any_field_is_refused(site, change):
    bundle = site.bundle()
    site.bundle("finance")
    invitation = bundle.invitation.model_copy(update=change)
    changed = bundle.model_copy(update={"invitation": invitation})
    if "address" in change:  # the device would not find the server; say it does
        body, key = invitation.model_dump_json().encode(), site.key()
        with site.client() as client:
            answer = client.post(
                ENROL, content=body, headers=sign_request(key, "POST", ENROL, body)
            )
        assert (answer.status_code, answer.json()) == (403, {"reason": "token"})
    else:
        assert refusal(changed, site.key()) == "token"
    assert not site.calls


def test_a_bundle_with_a_longer_life_is_refused(site):
    bundle = site.bundle()
    longer = bundle.invitation.expires + timedelta(days=1)
    invitation = bundle.invitation.model_copy(update={"expires": longer})
    assert refusal(bundle.model_copy(update={"invitation": invitation}), site.key()) == "token"


def test_a_void_bundle_is_refused_by_the_servers_clock(site):
    bundle = site.bundle()
    site.clock.ahead = 8 * 86400
    assert refusal(bundle, site.key()) == "void"


def test_a_used_bundle_lets_no_other_key_in(site):
    bundle = site.bundle()
    enrol(bundle, site.key())
    assert refusal(bundle, site.key("thief")) == "used"
    assert site.registry.admits(site.key().public.openssh) == "law"


def test_a_newer_bundle_makes_an_unused_one_void(site):
    older, newer = site.bundle(), site.bundle()
    assert refusal(older, site.key()) == "replaced"
    assert enrol(newer, site.key()).device == "law"


def test_a_newer_bundle_replaces_the_key(site):
    older, old = site.bundle(), site.key("old")
    enrol(older, old)
    newer, new = site.bundle(), site.key("new")
    assert enrol(older, old).device == "law"  # nothing changes before the new one is used
    enrol(newer, new)
    assert refusal(older, old) == "replaced"
    assert site.registry.admits(new.public.openssh) == "law"
    assert site.registry.admits(old.public.openssh).reason == "unknown"


def test_a_revoked_device_is_refused_until_it_gets_a_new_bundle(site):
    bundle, key = site.bundle(), site.key()
    enrol(bundle, key)
    site.registry.revoke("law")
    assert refusal(bundle, key) == "revoked"
    newer = site.bundle()
    assert site.registry.admits(key.public.openssh).reason == "revoked"
    enrol(newer, key)
    assert site.registry.admits(key.public.openssh) == "law"


def test_a_key_that_is_too_old_needs_a_new_bundle(make_site):
    site = make_site(key_days=1)
    bundle, key = site.bundle(), site.key()
    enrol(bundle, key)
    site.clock.ahead = 1.1 * 86400
    assert refusal(bundle, key) == "expired"
    enrol(site.bundle(), key)
    assert site.registry.admits(key.public.openssh) == "law"


def test_two_devices_cannot_share_a_key(site):
    key = site.join("law")
    assert refusal(site.bundle("finance"), key) == "taken"


def test_a_bundle_of_another_server_is_refused(site, make_site, tmp_path):
    from coplms.runtimes.network.registry import Registry

    other = Registry(tmp_path / "other" / "registry.json")
    bundle = other.issue(
        "law", consortium="lab", address=site.address, ca=site.certificates.ca_pem, days=1
    )
    assert refusal(bundle, site.key()) == "token"


def test_a_registry_that_was_lost_makes_bundles_void(site):
    bundle = site.bundle()
    site.registry.path.write_text('{"devices": {}}')
    assert refusal(bundle, site.key()) == "unknown"


def post(site, body: bytes, headers: dict[str, str]):
    with site.client() as client:
        answer = client.post(ENROL, content=body, headers=headers)
    return answer.status_code, answer.json()["reason"]


def test_a_signature_by_another_key_is_refused(site):
    body = site.bundle().invitation.model_dump_json().encode()
    headers = sign_request(site.key(), "POST", ENROL, body)
    headers["coplms-public-key"] = site.key("thief").public.openssh
    assert post(site, body, headers) == (401, "signature")
    assert not site.calls


def test_a_signature_of_another_body_path_or_method_is_refused(site):
    body, key = site.bundle().invitation.model_dump_json().encode(), site.key()
    for headers in (
        sign_request(key, "POST", ENROL, b"{}"),
        sign_request(key, "POST", "/v1/coplms/other", body),
        sign_request(key, "GET", ENROL, body),
    ):
        assert post(site, body, headers) == (401, "signature")


def test_a_replayed_request_is_refused(site):
    body, key = site.bundle().invitation.model_dump_json().encode(), site.key()
    headers = sign_request(key, "POST", ENROL, body)
    with site.client() as client:
        assert client.post(ENROL, content=body, headers=headers).status_code == 200
    assert post(site, body, headers) == (401, "signature")


def test_clocks_that_differ_are_named(site):
    with pytest.raises(AccessRefusedError, match=r"clock is -?\d+ seconds ahead") as caught:
        enrol(site.bundle(), site.key(), clock=lambda: time.time() - 400)
    assert caught.value.reason == "clock"
    with pytest.raises(AccessRefusedError, match="clock"):
        enrol(site.bundle(), site.key(), clock=lambda: time.time() + 400)


def test_nonsense_is_refused(site):
    key = site.key()
    for body in (b"", b"[]", b"\xff\xfe", b'{"device": "law"}', b"[" * 9000):
        assert post(site, body, sign_request(key, "POST", ENROL, body)) == (400, "no invitation")
    assert post(site, b"{}", {}) == (401, "no public key")
    assert post(site, b"{}", {"coplms-public-key": "ssh-rsa AAAA"}) == (401, "no public key")


def test_a_long_body_is_not_read(site):
    assert post(site, b"x" * 20000, {}) == (413, "too large")


def test_an_address_that_tries_too_often_waits(make_site):
    site = make_site(limits=Limits(enrolments=3, enrolments_per_second=0.001))
    statuses = [post(site, b"{}", {})[0] for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    with pytest.raises(ServerAbsentError, match="too many tries"):
        enrol(site.bundle(), site.key())


def test_a_failing_callback_asks_the_device_to_try_again(make_site, audit_log):
    failures = [RuntimeError("the SuperLink is busy")]

    def fail_once(name: str, key: bytes) -> None:
        if failures:
            raise failures.pop()

    site = make_site(on_enrol=fail_once)
    bundle, key = site.bundle(), site.key()
    with pytest.raises(ServerAbsentError, match="try again"):
        enrol(bundle, key)
    assert enrol(bundle, key).device == "law"
    assert "the SuperLink is busy" in audit_log.text


def test_a_slow_callback_does_not_hold_others_up(make_site):
    release = threading.Event()
    site = make_site(on_enrol=lambda name, key: release.wait(5) and None)
    bundle, key = site.bundle(), site.key()
    with ThreadPoolExecutor(1) as pool, site.client() as client:
        enrolling = pool.submit(enrol, bundle, key)
        assert client.get("/health").status_code == 200
        assert not enrolling.done()
        release.set()
        assert enrolling.result().device == "law"


def test_enrolments_at_once_are_all_kept(site):
    names = [f"device-{number}" for number in range(8)]
    bundles = {name: site.bundle(name) for name in names}
    keys = {name: site.key(name) for name in names}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: enrol(bundles[name], keys[name]), names))
    assert sorted(name for name, _ in site.calls) == names
    assert [site.registry.admits(keys[name].public.openssh) for name in names] == names


def test_one_bundle_used_at_once_lets_one_key_in(site):
    bundle = site.bundle()
    keys = [device_key(site.folder / "keys" / str(number)) for number in range(6)]

    def attempt(key) -> bool:
        try:
            return bool(enrol(bundle, key))
        except AccessRefusedError:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, keys)) == 1


def test_enrolments_and_refusals_are_logged_with_name_address_and_key(site, audit_log):
    bundle, key, thief = site.bundle(), site.key(), site.key("thief")
    enrol(bundle, key)
    refusal(bundle, thief)
    refusal(bundle, thief)
    assert f"enrolled device 'law' at 127.0.0.1, key {key.public.fingerprint}" in audit_log.text
    line = f"refused device 'law' at 127.0.0.1, key {thief.public.fingerprint}: 403 used"
    assert audit_log.text.count(line) == 1


def test_no_secret_is_logged_or_answered(site, audit_log):
    bundle = site.bundle()
    enrol(bundle, site.key())
    refusal(bundle, site.key("thief"))
    assert bundle.invitation.token not in audit_log.text
    assert json.loads(site.registry.path.read_text())["devices"]["law"]["name"] == "law"
    assert bundle.invitation.token not in site.registry.path.read_text()
