"""A local server that speaks the OpenAI chat protocol and misbehaves on request."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Behaviour = Callable[["Handler"], None]


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 7}}).encode()


def says(text: str | None, finish_reason: str = "stop", **message: Any) -> Behaviour:
    """A well-formed answer."""
    return lambda handler: handler.send(200, completion(text, finish_reason, **message))


def fails(status: int, body: str = '{"error": {"message": "no"}}', **headers: str) -> Behaviour:
    return lambda handler: handler.send(status, body.encode(), {k.replace("_", "-"): v for k, v in headers.items()})


def raw(body: bytes) -> Behaviour:
    """Anything but a chat completion."""
    return lambda handler: handler.send(200, body)


def truncated(text: str = "Winner: A") -> Behaviour:
    """Half of an answer, then the connection ends, whatever Content-Length said."""

    def act(handler: "Handler") -> None:
        body = completion(text)
        handler.send(200, body[: len(body) // 2], {"Content-Length": str(len(body))})

    return act


def hangs(handler: "Handler") -> None:
    """No answer until the server closes."""
    handler.owner.closing.wait(30)


def drips(handler: "Handler") -> None:
    """A byte now and then: every read is in time, the answer never is."""
    handler.send(200, b"", {"Content-Length": "1000"})
    while not handler.owner.closing.wait(0.02):
        handler.wfile.write(b" ")


def slow(seconds: float, text: str) -> Behaviour:
    def act(handler: "Handler") -> None:
        time.sleep(seconds)
        handler.send(200, completion(text))

    return act


def echoes_key(handler: "Handler") -> None:
    """As real endpoints do with a wrong key."""
    handler.send(401, f"Incorrect key: {handler.headers['Authorization']}".encode())


def drops(handler: "Handler") -> None:
    """The connection ends without a word."""
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    owner: "ChatServer"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour = self.owner.record(self.path, body, dict(self.headers))
        try:
            behaviour(self)
        except OSError:
            pass  # the client gave up
        finally:
            self.owner.finished()

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class ChatServer:
    """Acts out `script`, a behaviour per request, then `always` (which may look at the question).

    `questions` are the texts asked, `requests` the bodies, `headers`, `paths` and `times` what came with them.
    """

    def __init__(self, script: Sequence[Behaviour] = (), always: Callable[[str], Behaviour] | None = None):
        self.script, self.always = list(script), always or (lambda question: says("Winner: A"))
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.now_open = self.most_open = 0
        self.closing, self._lock = threading.Event(), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"owner": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.requests]

    def record(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Behaviour:
        with self._lock:
            self.paths.append(path)
            self.requests.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.now_open += 1
            self.most_open = max(self.most_open, self.now_open)
            return self.script.pop(0) if self.script else self.always(body["messages"][-1]["content"])

    def finished(self) -> None:
        with self._lock:
            self.now_open -= 1

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
