"""One exchange: a message to some devices, and a reply or a failure from each."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coplms.runtimes.flower.calls import EngineLost
from coplms.runtimes.flower.engine import ErrorCode
from coplms.runtimes.flower.messages import Incomplete, Malformed, pack
from coplms.runtimes.flower.run import Arrival, Run
from coplms.runtimes.flower.superlink import SuperLink
from coplms.transport.link import DeviceFailure, FailureCode, Reply

FIRST_PAUSE = 0.1
LAST_PAUSE = 1.0
RETRY_SECONDS = 2.0
MAX_SENDS = 10
"""A device that loses the message this often is gone."""
CLOCK_SECONDS = 1.0
_OVERDUE = {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE}
_VANISHED = _OVERDUE | {ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED}


@dataclass
class Waiting:
    """A device that has not answered.

    Attributes:
        name: Its name.
        node_id: What Flower calls it; None until it is registered.
        questions: Ids of the messages, each the same message, that it may still answer.
        connected: Since when it was connected as it got the last of them. A device that has
            connected anew since then may have lost it.
        sends: How often it got the message, in all runs of this exchange.
        missed_since: When it was first found to be missing, if it is.
        not_before: When it may get the message again.
    """

    name: str
    node_id: int | None = None
    questions: list[str] = field(default_factory=list)
    connected: str = ""
    sends: int = 0
    missed_since: float | None = None
    not_before: float = 0.0

    def lose(self, now: float) -> None:
        """Note that it has lost the message."""
        self.missed_since = self.missed_since or now
        self.not_before = now + RETRY_SECONDS


class Exchange:
    """The server's side of one exchange."""

    def __init__(
        self,
        superlink: SuperLink,
        message: bytes,
        devices: Sequence[str],
        seconds: float,
        return_seconds: float,
        max_bytes: int,
        group: str,
    ) -> None:
        self._superlink = superlink
        self._log: logging.Logger = superlink.log
        self._records = pack(message)
        self._waiting = {name: Waiting(name) for name in devices}
        self._deadline = time.monotonic() + seconds
        self._return_seconds = return_seconds
        self._max_bytes = max_bytes
        self._group = group
        self._run: Run | None = None
        self._arrivals: list[Arrival] = []
        self._spent: list[str] = []

    def replies(self) -> Iterator[Reply]:
        """Each device's reply as it comes."""
        pause = FIRST_PAUSE
        try:
            while self._waiting:
                came = False
                for reply in self._turn():
                    came = True
                    yield reply
                pause = FIRST_PAUSE if came else min(1.5 * pause, LAST_PAUSE)
                if self._waiting:
                    time.sleep(pause)
        finally:
            self._clear()

    def _turn(self) -> Iterator[Reply]:
        try:
            run = self._current_run()
            online = run.online()
            nodes = self._superlink.nodes
            for device in self._waiting.values():
                device.node_id = nodes.get(device.name)
                self._serve(run, device, online)
            yield from self._collect(run, online)
        except EngineLost as error:
            self._log.warning("exchange %s: the engine is lost: %s", self._group, error)
            self._forget_run()
        yield from self._give_up()

    def _current_run(self) -> Run:
        run = self._superlink.run()
        if run is not self._run:
            self._forget_run()
            self._run = run
        return run

    def _forget_run(self) -> None:
        """Every unanswered device gets the message again, in another run."""
        if self._run is not None:
            self._run.drop()
        self._run = None
        self._arrivals = []
        self._spent = []
        for device in self._waiting.values():
            device.questions = []
            device.connected = ""

    def _serve(self, run: Run, device: Waiting, online: Mapping[int, str]) -> None:
        """Send a device the message if it has to get it now."""
        now = time.monotonic()
        connected = None if device.node_id is None else online.get(device.node_id)
        if device.node_id is None or connected is None:
            device.missed_since = device.missed_since or now
            return
        if device.questions and connected == device.connected:
            device.missed_since = None
            return
        if now < device.not_before or now >= self._deadline or device.sends >= MAX_SENDS:
            return
        for lost in device.questions:
            run.forget(lost)  # if it was not fetched yet, it comes only once
        try:
            sent = run.send(device.node_id, self._records, self._deadline - now, self._group)
        except KeyError:
            device.lose(now)
            return
        device.questions.append(sent)
        device.connected = connected
        device.sends += 1
        device.not_before = now + RETRY_SECONDS

    def _collect(self, run: Run, online: Mapping[int, str]) -> Iterator[Reply]:
        """Only connected devices are asked after: of others the engine would throw a reply away."""
        asked = [
            question
            for device in self._waiting.values()
            if device.node_id in online
            for question in device.questions
        ]
        self._arrivals += run.arrivals(asked)
        arrivals, self._arrivals = self._arrivals, []
        while arrivals:
            arrival = arrivals.pop(0)
            device = self._asked(arrival.question)
            if device is None:
                run.forget(arrival.message_id)
            elif arrival.error is not None:
                run.forget(arrival.message_id)
                yield from self._note_error(device, arrival)
            else:
                try:
                    content = self._take(run, arrival, device)
                except Incomplete:
                    self._arrivals.append(arrival)
                else:
                    self._close(device, arrival.question)
                    self._arrivals += arrivals  # kept, should the caller never come back
                    yield Reply(device.name, content)
                    arrivals, self._arrivals = self._arrivals, []

    def _asked(self, question: str) -> Waiting | None:
        for device in self._waiting.values():
            if question in device.questions:
                return device
        return None

    def _take(self, run: Run, arrival: Arrival, device: Waiting) -> bytes | DeviceFailure:
        try:
            content = run.take(arrival, self._max_bytes)
        except Malformed as error:
            self._log.warning("exchange %s: '%s': %s", self._group, device.name, error)
            return DeviceFailure(device.name, FailureCode.INVALID)
        return DeviceFailure(device.name, FailureCode.ERROR) if content is None else content

    def _note_error(self, device: Waiting, arrival: Arrival) -> Iterator[Reply]:
        self._log.warning(
            "exchange %s: '%s': Flower's error %d", self._group, device.name, arrival.error
        )
        device.questions.remove(arrival.question)
        now = time.monotonic()
        if arrival.error in _OVERDUE and now > self._deadline - CLOCK_SECONDS:
            yield self._fail(device, FailureCode.LATE)
        elif arrival.error in _VANISHED:
            device.lose(now)
            if not device.questions:
                device.connected = ""
        else:
            yield self._fail(device, FailureCode.ERROR)

    def _give_up(self) -> Iterator[Reply]:
        now = time.monotonic()
        for device in list(self._waiting.values()):
            missed = now - device.missed_since if device.missed_since is not None else 0.0
            worn_out = device.sends >= MAX_SENDS and not device.questions
            if now >= self._deadline and device.sends and device.missed_since is None:
                yield self._fail(device, FailureCode.LATE)
            elif now >= self._deadline or missed > self._return_seconds or worn_out:
                code = FailureCode.GONE if device.sends else FailureCode.ABSENT
                yield self._fail(device, code)

    def _fail(self, device: Waiting, code: FailureCode) -> Reply:
        self._close(device, answered="")
        return Reply(device.name, DeviceFailure(device.name, code))

    def _close(self, device: Waiting, answered: str) -> None:
        del self._waiting[device.name]
        self._spent += [question for question in device.questions if question != answered]

    def _clear(self) -> None:
        """Nothing of this exchange stays at the engine, and nobody begins to work on it."""
        open_questions = [q for device in self._waiting.values() for q in device.questions]
        if self._run is None or self._run.is_lost:
            return
        try:
            for question in [*self._spent, *open_questions]:
                self._run.forget(question)
            for arrival in [*self._arrivals, *self._run.arrivals(self._spent + open_questions)]:
                self._run.forget(arrival.message_id)
        except EngineLost as error:
            self._log.warning("exchange %s: not cleared: %s", self._group, error)
            self._run.drop()
