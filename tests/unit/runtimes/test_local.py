"""`coplms.runtimes.local`: a link without a network; what links have in common is tested apart."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from coplms.errors import DataError
from coplms.runtimes.local import LocalLink
from coplms.transport.link import Answer, DeviceFailure, FailureCode, Reply

SECRET = "/home/doctor/patients.jsonl"


class Echo:
    """Devices that answer with their name and what they were asked."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.failing: dict[str, Exception] = {}

    def answer_of(self, device: str) -> Answer:
        self.opened.append(device)
        return lambda message: self._answer(device, message)

    def _answer(self, device: str, message: bytes) -> bytes:
        if device in self.failing:
            raise self.failing[device]
        return f"{device} heard ".encode() + message


@pytest.fixture
def echo() -> Echo:
    return Echo()


MakeLink = Callable[..., LocalLink]


@pytest.fixture
def make_link(echo: Echo) -> MakeLink:
    return lambda strict=True: LocalLink(echo.answer_of, ["law", "bank", "tax"], strict=strict)


def test_devices_answer_in_the_order_in_which_they_are_asked(make_link: MakeLink) -> None:
    link = make_link()
    assert link.present() == {"law", "bank", "tax"}
    assert list(link.exchange(b"hi", ["tax", "law"], 1.0, 1000)) == [
        Reply("tax", b"tax heard hi"),
        Reply("law", b"law heard hi"),
    ]


def test_a_device_works_only_when_its_reply_is_asked_for(make_link: MakeLink, echo: Echo) -> None:
    replies = make_link().exchange(b"hi", ["bank", "law"], 1.0, 1000)
    assert echo.opened == []
    next(replies)
    assert echo.opened == ["bank"]


def test_a_devices_side_is_opened_anew_for_every_message(make_link: MakeLink, echo: Echo) -> None:
    link = make_link()
    for _ in range(2):
        list(link.exchange(b"hi", ["bank"], 1.0, 1000))
    assert echo.opened == ["bank", "bank"]


def test_a_device_that_there_is_not_is_absent(make_link: MakeLink, echo: Echo) -> None:
    (reply,) = make_link().exchange(b"hi", ["nobody"], 1.0, 1000)
    assert reply == Reply("nobody", DeviceFailure("nobody", FailureCode.ABSENT))
    assert echo.opened == []


def test_an_error_comes_out_as_it_is_where_there_is_nobody_else(
    make_link: MakeLink, echo: Echo
) -> None:
    error = echo.failing["law"] = DataError(SECRET)
    replies = make_link(strict=True).exchange(b"hi", ["bank", "law", "tax"], 1.0, 1000)
    assert next(replies).device == "bank"
    with pytest.raises(DataError) as raised:
        next(replies)
    assert raised.value is error
    assert "tax" not in echo.opened


def test_an_error_is_a_failure_where_others_go_on(
    make_link: MakeLink, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    echo.failing["law"] = DataError(SECRET)
    with caplog.at_level(logging.ERROR):
        replies = list(make_link(strict=False).exchange(b"hi", ["bank", "law", "tax"], 1.0, 1000))
    assert replies[1] == Reply("law", DeviceFailure("law", FailureCode.ERROR))
    assert [reply.content for reply in replies[::2]] == [b"bank heard hi", b"tax heard hi"]
    assert SECRET not in str(replies[1])
    assert SECRET in caplog.text


@pytest.mark.parametrize("strict", [True, False])
def test_a_stop_is_no_failure(strict: bool, make_link: MakeLink, echo: Echo) -> None:
    echo.failing["law"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        list(make_link(strict=strict).exchange(b"hi", ["law"], 1.0, 1000))


def test_what_is_offered_counts_for_those_who_were_asked(
    make_link: MakeLink, tmp_path: Path
) -> None:
    (tmp_path / "model").write_bytes(b"12345")
    (tmp_path / "text").write_bytes(b"")
    link = make_link()
    link.offer({"a" * 64: tmp_path / "model", "b" * 64: tmp_path / "text"})
    assert link.fetched("bank") == {}
    list(link.exchange(b"hi", ["bank"], 1.0, 1000))
    assert link.fetched("bank") == {"a" * 64: 5, "b" * 64: 0}
    assert link.fetched("law") == {}
    assert link.wire_bytes("bank") is None


@pytest.mark.parametrize(("limit", "fits"), [(13, True), (12, False)])
def test_an_answer_that_is_too_long_is_invalid(limit: int, fits: bool, make_link: MakeLink) -> None:
    (reply,) = make_link().exchange(b"hi", ["bank"], 1.0, limit)
    answer, failure = b"bank heard hi", DeviceFailure("bank", FailureCode.INVALID)
    assert reply.content == (answer if fits else failure)
