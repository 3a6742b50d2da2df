"""Join bundles as files."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from coplms.errors import ConfigError
from coplms.runtimes.network.bundle import make_bundle, read_bundle, write_bundle

SECRET = b"s" * 32
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def bundle(certificates):
    return make_bundle(
        SECRET,
        consortium="lab",
        device="law",
        address="lab.example.org:8710",
        ca=certificates.ca_pem,
        expires=NOW + timedelta(days=7),
        nonce="0" * 32,
    )


def test_a_bundle_comes_back_as_written(bundle, tmp_path):
    path = tmp_path / "law.join"
    write_bundle(bundle, path)
    assert read_bundle(path, now=NOW) == bundle
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size < 4096
    assert bundle.invitation.is_made_with(SECRET)
    assert not bundle.invitation.is_made_with(b"t" * 32)


def test_a_void_bundle_is_refused_but_can_be_read(bundle, tmp_path):
    path = tmp_path / "law.join"
    write_bundle(bundle, path)
    late = NOW + timedelta(days=7)
    with pytest.raises(ConfigError, match=r"'law' was valid until 2030-01-08 00:00 UTC.*clock"):
        read_bundle(path, now=late)
    assert read_bundle(path, now=late, allow_expired=True) == bundle


@pytest.mark.parametrize("field", ["consortium", "device", "address", "expires", "nonce"])
def test_every_field_is_under_the_token(bundle, field):
    other = {
        "consortium": "other",
        "device": "other",
        "address": "other:1",
        "expires": NOW + timedelta(days=8),
        "nonce": "1" * 32,
    }
    changed = bundle.invitation.model_copy(update={field: other[field]})
    assert not changed.is_made_with(SECRET)


def test_fields_cannot_flow_into_each_other(certificates):
    """`ab` + `c` is another token than `a` + `bc`."""
    tokens = {
        make_bundle(
            SECRET,
            consortium=consortium,
            device=device,
            address="a:1",
            ca=certificates.ca_pem,
            expires=NOW,
            nonce="0" * 32,
        ).invitation.token
        for consortium, device in (("ab", "c"), ("a", "bc"), ('a","b', "c"))
    }
    assert len(tokens) == 3


def changed(bundle, **fields) -> str:
    return json.dumps({**json.loads(bundle.model_dump_json()), **fields})


def test_what_is_no_bundle_is_refused(bundle, tmp_path):
    path = tmp_path / "law.join"
    inner = json.loads(bundle.model_dump_json())["invitation"]
    foreign_ca = bundle.ca.replace("-----END CERTIFICATE-----", "\n-----END CERTIFICATE-----")
    for text in (
        "",
        "[]",
        "PK\x03\x04",
        bundle.model_dump_json()[:-40],
        changed(bundle, kind="coplms join bundle 2"),
        changed(bundle, more=1),
        changed(bundle, ca="no certificate"),
        changed(bundle, ca=foreign_ca),
        changed(bundle, invitation={**inner, "address": "https://lab:1"}),
        changed(bundle, invitation={**inner, "token": "x"}),
        changed(bundle, invitation={**inner, "expires": "2030-01-08T00:00:00"}),
        changed(bundle, invitation={**inner, "device": "x" * 300}),
        "x" * 100_000,
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"law\.join: is no join bundle, or was changed"):
            read_bundle(path, now=NOW)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_bundle(tmp_path / "absent")
