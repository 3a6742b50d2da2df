"""Devices of a consortium as processes of their own on the server's machine, to try it.

    python -m coplms.cli.local_devices device --join ...

is such a process: `coplms device`, which ends when the server does. The server holds the other end
of its standard input and never writes: when the server is gone, however it died, that ends.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coplms.api.local_edges import write_edges
from coplms.cli.console import print_line
from coplms.config.run import RunConfig
from coplms.runtimes.flower.hub import Hub
from coplms.runtimes.network.bundle import write_bundle

_END_SECONDS = 10.0


@contextmanager
def start_devices(config: RunConfig, hub: Hub, folder: Path) -> Iterator[None]:
    """Run `coplms device` for every device of the configuration while the block runs.

    Args:
        config: Describes the devices with their models and text.
        hub: Where they join.
        folder: Gets a folder for each: what an operator would prepare on its machine.
    """
    processes = []
    try:
        for name, path in write_edges(config, len(config.devices), folder).items():
            home = path.parent
            bundle = home / "bundle.join"
            if not (home / "state" / "key").exists():
                write_bundle(hub.invite(name), bundle)
            command = [sys.executable, "-m", "coplms.cli.local_devices", "device"]
            command += ["--join", str(bundle), "--config", str(path)]
            command += ["--state", str(home / "state")]
            with (home / "device.log").open("ab") as log:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
                )
            processes.append(process)
            print_line(f"device '{name}' runs as process {process.pid}; log in {home}/device.log")
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _follow_server() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from coplms.cli.main import main

    threading.Thread(target=_follow_server, daemon=True).start()
    main()
