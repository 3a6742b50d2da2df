"""A hub on this machine: an HTTP server that says of a folder's files what the real one says."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0" * 40


@contextmanager
def served(files: Path, repository: str, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """The server's address, and the paths that it was asked for.

    Args:
        files: What the repository holds.
        repository: Its name.
        status: What is said at the address itself.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            if self.path in ("", "/"):
                self._say(status, b"")
                return
            prefix = f"/{repository}/resolve/"
            _, _, name = self.path.removeprefix(prefix).partition("/")
            file = files / name
            if self.path.startswith(prefix) and file.is_file():
                self._say(200, file.read_bytes(), {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
            else:
                self._say(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

        do_GET = do_HEAD

        def _say(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
