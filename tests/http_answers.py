"""A local server whose answers a test writes down; it keeps what it was asked."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Answer:
    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass
class Served:
    url: str
    requests: list[Request]


@contextlib.contextmanager
def serving(answer: Callable[[Request], Answer], certificate: Path | None = None) -> Iterator[Served]:
    """Serve until the block ends; over TLS with a file that holds key and certificate."""
    asked: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self.rfile.read(length).decode())
            asked.append(request)
            given = answer(request)
            self.send_response(given.status)
            for name, value in {**given.headers, "content-length": str(len(given.body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(given.body.encode())

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _do  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield Served(f"http{'s' * bool(certificate)}://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
