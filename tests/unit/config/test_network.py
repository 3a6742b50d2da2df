"""The configuration's section on the network."""

import pytest
from pydantic import ValidationError

from coplms.config.network import NetworkConfig, split_address


def test_everything_has_a_default():
    assert NetworkConfig().listen == "0.0.0.0:8710"


@pytest.mark.parametrize(
    "address", ["lab.example.org:8710", "10.0.0.5:1", "[2001:db8::1]:65535", "localhost:8710"]
)
def test_addresses_that_devices_can_reach(address):
    assert NetworkConfig(address=address).address == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("lab", "is not host:port"),
        ("lab:", "is not host:port"),
        ("lab:65536", "is not host:port"),
        ("lab:-1", "is not host:port"),
        ("lab:0", "above 0"),
        (":8710", "no host name"),
        ("https://lab:8710", "no host name"),
        ("lab/x:8710", "no host name"),
        ("user@lab:8710", "no host name"),
        ("2001:db8::1:8710", "stands in brackets"),
        ("[lab]:8710", "no IPv6 address"),
        ("0.0.0.0:8710", "not where it is reached"),
        ("[::]:8710", "not where it is reached"),
        ("-lab:8710", "no host name"),
        ("lab\n:8710", "no host name"),
    ],
)
def test_other_addresses_are_refused(address, reason):
    with pytest.raises(ValidationError, match=reason):
        NetworkConfig(address=address)


def test_certificate_files_come_together():
    NetworkConfig(certificate="a", key="b", ca="c")
    with pytest.raises(ValidationError, match="`ca` is absent"):
        NetworkConfig(certificate="a", key="b")
    with pytest.raises(ValidationError, match="`certificate` is absent"):
        NetworkConfig(ca="c")


@pytest.mark.parametrize(
    "fields", [{"quorum": 0}, {"quorum": 1.1}, {"key_days": 0}, {"round_seconds": 0}, {"more": 1}]
)
def test_values_out_of_bounds_are_refused(fields):
    with pytest.raises(ValidationError):
        NetworkConfig(**fields)


def test_addresses_split():
    assert split_address("[2001:DB8:0::1]:80") == ("2001:db8::1", 80)
