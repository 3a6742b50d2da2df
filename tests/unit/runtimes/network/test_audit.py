"""The gate's log under a flood."""

import pytest

from coplms.runtimes.network.audit import Audit, Who


@pytest.fixture
def lines(audit_log):
    return lambda: [record.getMessage() for record in audit_log.records]


def test_equal_refusals_are_one_line_a_minute(lines):
    now = 0.0
    audit = Audit(clock=lambda: now)
    for _ in range(1000):
        audit.refused(Who("1.2.3.4", "law", "SHA256:x"), "403 used")
    assert lines() == ["refused device 'law' at 1.2.3.4, key SHA256:x: 403 used"]
    now = 61.0
    audit.refused(Who("1.2.3.4", "law", "SHA256:x"), "403 used")
    assert lines()[1].endswith("403 used (999 more like this)")


def test_a_flood_from_everywhere_is_one_line_a_second(lines):
    now = 0.0
    audit = Audit(clock=lambda: now)
    for number in range(10_000):
        now += 0.01
        audit.refused(Who(f"{number}", None, f"SHA256:{number}"), "401 unknown")
    assert 150 < len(lines()) < 170
    assert "other refusals not shown" in lines()[-1]
    assert len(audit._kinds) <= 1024


def test_what_strangers_write_is_shown_as_text(lines):
    audit = Audit()
    audit.refused(Who("1.2.3.4", "a\nrefused b\x1b[2J"), "403 token", "c\r\n" * 100)
    (line,) = lines()
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 400
