"""Runs the `coplms` command and lets things go wrong in its process: what no product should know.

python driver.py '{"points": {...}, "replies": {...}, "folder": "..."}' device --join ...

points    "POINT": "kill" or "hold"; a point is passed when
              "start PHASE", "work PHASE", "done PHASE"   a phase starts, has worked, is kept
              "put ROUND", "told KIND"                    the server has an upload, a report
              "save"                                      the server saves its models
              "fetched BYTES"                             so much of a file has come
          a process that is held has written FOLDER/held, and goes on once there is FOLDER/go
replies   "ROUND": what a device does in place of its answer to that round's download
secret    the text of errors that are raised
"""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from coplms.api import consortium, edge, workplace
from coplms.cli.main import main
from coplms.consortium import courier, inbox, journal
from coplms.consortium.messages import Upload
from coplms.runtimes.flower import messages as flower_messages
from coplms.runtimes.network import fetch
from coplms.transport.codec import Message, encode, peek


class Faults:
    """What goes wrong in this process."""

    def __init__(self, spec: dict[str, object]) -> None:
        self.points = dict(spec.get("points", {}))
        self.replies = dict(spec.get("replies", {}))
        self.wish = ""
        self.secret = str(spec.get("secret", ""))
        self.folder = Path(str(spec.get("folder", ".")))

    def passes(self, point: str) -> None:
        """The process has come to a point, for the first time perhaps."""
        action = self.points.pop(point, None)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "hold":
            (self.folder / "held").touch()
            while not (self.folder / "go").exists():
                time.sleep(0.05)

    # Points -----------------------------------------------------------------------------------

    def watch_phases(self) -> None:
        inner = journal.Journal.phase

        def phase(self_, label, work, parts=()):
            if self_.is_done(label):
                return inner(self_, label, work, parts)

            def worked(phase_):
                result = work(phase_)
                self.passes(f"work {label.name}")
                return result

            self.passes(f"start {label.name}")
            result = inner(self_, label, worked, parts)
            self.passes(f"done {label.name}")
            return result

        journal.Journal.phase = phase

    def watch_server(self) -> None:
        put, told, save = inbox.Inbox.put, courier.Courier._told, consortium.save_server

        def put_(self_, device, message):
            put(self_, device, message)
            self.passes(f"put {self_.round_number}")

        def told_(self_, device, data, round_number, kind):
            report = told(self_, device, data, round_number, kind)
            self.passes(f"told {kind}")
            return report

        def save_(*arguments):
            self.passes("save")
            save(*arguments)

        inbox.Inbox.put, courier.Courier._told, consortium.save_server = put_, told_, save_

    def watch_fetching(self) -> None:
        write, whole = fetch._Download._write, fetch._CHUNK
        faults = self

        class Watched:
            def __init__(self, response):
                self.response = response

            def iter_raw(self, _):
                have = 0
                for chunk in self.response.iter_raw(4096):
                    have += len(chunk)
                    yield chunk
                    faults.passes(f"fetched {have}")

        assert whole > 4096
        fetch._Download._write = lambda self_, response, have: write(self_, Watched(response), have)

    # Replies ----------------------------------------------------------------------------------

    def change_replies(self) -> None:
        answer = edge.Edge.answer.fget
        edge.Edge.answer = property(lambda edge_: self._changing(answer(edge_)))

    def _changing(self, answer):
        old: list[bytes] = []

        def reply(message: bytes) -> bytes:
            asked = peek(message)
            if asked.kind != "download":
                return answer(message)
            self.wish = str(self.replies.get(str(asked.round_number), ""))
            if self.wish == "crash":
                raise RuntimeError(self.secret)
            data = answer(message)
            if self.wish == "old":
                return old[-1]
            old.append(data)
            return self._changed(data)

        return reply

    def fail_in_training(self) -> None:
        round_ = workplace.DeviceInRun.round

        def failing(self_, download) -> Upload:
            if self.wish == "raise":
                raise ValueError(self.secret)
            upload = round_(self_, download)
            if self.wish == "diverge":
                spoilt = {name: value * torch.nan for name, value in upload.shared.items()}
                return replace(upload, shared=spoilt)
            return upload

        workplace.DeviceInRun.round = failing

    def _changed(self, data: bytes) -> bytes:
        """Another message than the device's own."""
        if self.wish not in ("nan", "shape", "name", "noise"):
            return data
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        fields = json.loads(header["__metadata__"]["coplms"])
        packed = torch.frombuffer(bytearray(data[8 + length :]), dtype=torch.uint8)
        sender = fields["sender"]
        if self.wish == "noise":
            return os.urandom(len(data))
        if self.wish == "name":
            sender = "bank"
        if self.wish == "shape":
            packed = packed[:-1].clone()
        if self.wish == "nan":
            packed[:4] = torch.tensor([0, 0, 0xC0, 0x7F], dtype=torch.uint8)
        message = Message(
            fields["kind"], fields["round"], sender, {"shared": packed}, fields["info"]
        )
        return encode(message)

    def send_twice(self) -> None:
        """A second copy of an answer, as a message of its own."""
        push, pull = flower_messages.Mailbox.push, flower_messages.Mailbox.pull
        question = []

        def pull_(self_, *arguments):
            question[:] = [pull(self_, *arguments)]
            return question[0]

        def push_(self_, message):
            sent = push(self_, message)
            if self.wish == "twice":
                self.wish = ""
                again = flower_messages.Message(message.content, reply_to=question[0])
                try:
                    push(self_, again)
                    print("sent the same answer twice", flush=True)
                except Exception as error:
                    print(f"could not send it twice: {error!r}", flush=True)
            return sent

        flower_messages.Mailbox.push, flower_messages.Mailbox.pull = push_, pull_


def run(spec: str, *arguments: str) -> None:
    faults = Faults(json.loads(spec))
    faults.watch_phases()
    faults.watch_server()
    faults.watch_fetching()
    faults.change_replies()
    faults.fail_in_training()
    faults.send_twice()
    main(arguments)


if __name__ == "__main__":
    run(*sys.argv[1:])
