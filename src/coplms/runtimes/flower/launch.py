"""Run one of Flower's servers in this process, which ends when its parent does.

    python -m coplms.runtimes.flower.launch superlink --host 127.0.0.1 ...

The parent holds the other end of standard input and never writes: when the parent is gone, however
it died, standard input ends, and so does this process.
"""

import os
import signal
import sys
import threading
import time
import traceback
from importlib.metadata import entry_points

COMMANDS = {"superlink": "flower-superlink", "supernode": "flower-supernode"}
SECONDS_TO_CLOSE = 3.0


def main(arguments: list[str]) -> None:
    """Never returns: the process ends with Flower's exit status."""
    name, *rest = arguments
    script = COMMANDS[name]
    threading.Thread(target=_follow_parent, daemon=True).start()
    threading.excepthook = _end_with_thread
    sys.argv = [script, *rest]
    (entry,) = entry_points(group="console_scripts", name=script)
    status = 0
    try:
        entry.load()()
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    _leave(status)


def _follow_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_CLOSE)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_with_thread(failure: threading.ExceptHookArgs) -> None:
    """A SuperNode whose heartbeat thread has died would go on as if it were connected."""
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    _leave(1)


def _leave(status: int) -> None:
    """At once: a SuperNode whose main loop has ended would be kept alive by its HTTP server."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
