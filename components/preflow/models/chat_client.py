"""Questions to an OpenAI-compatible endpoint: retries, waits, a rate limit. The standard library, one connection each."""

import http.client
import json
import math
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from preflow.errors import ScorerError

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
LARGEST_ANSWER = 16 << 20
SHOWN = 300
FILTERED = "content_filter"
FIRST_WAIT, LONGEST_BACKOFF = 1.0, 60.0


@dataclass(frozen=True)
class ChatAnswer:
    """`finish_reason` is "length" where the answer was cut, FILTERED where the endpoint refused the texts; `tokens` are
    those of question and answer, as counted there."""

    text: str
    finish_reason: str | None
    tokens: int


class Stopped(Exception):
    """Another question failed for good; this one was not asked."""


class _Passing(Exception):
    """A failure that may be gone at the next attempt; `wait` seconds were asked for."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


class _Filtered(Exception):
    """The endpoint does not let this question pass: what it said counts as its answer, or one text would block a run."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to the address that the user named, and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class ChatClient:
    """`complete` may be called from several threads; `stop` ends their waits."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 120.0,
        attempts: int = 6,
        max_wait: float = 300.0,
        requests_per_minute: float | None = None,
        first_wait: float = FIRST_WAIT,
    ):
        self.url = f"{url.rstrip('/')}/chat/completions"
        self.requests = 0
        self._key, self._timeout, self._attempts = key, timeout, attempts
        self._max_wait, self._first_wait = max_wait, first_wait
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next_start = 0.0
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirects)

    def stop(self) -> None:
        """No further request: whoever waits raises Stopped, until `resume`."""
        self._stopped.set()

    def resume(self) -> None:
        self._stopped.clear()

    def complete(self, request: Mapping[str, Any]) -> ChatAnswer:
        """The answer to a request. Raises ScorerError when trying again is no use or has been no use, or Stopped."""
        for attempt in range(1, self._attempts + 1):
            self._await_turn()
            try:
                return _read_answer(self._post(request))
            except _Filtered as refusal:
                return ChatAnswer(self._shown(refusal), FILTERED, 0)
            except _Passing as failure:
                last = failure
            backoff = min(LONGEST_BACKOFF, self._first_wait * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
            wait = backoff if last.wait is None else last.wait
            if wait > self._max_wait:
                raise ScorerError(
                    f"{self.url}: {self._shown(last)}, and asks to wait {wait:.0f} s. Expected at most "
                    f"endpoint.max_wait_seconds ({self._max_wait:.0f}). Run again later: answers are kept."
                )
            if last.wait is not None:
                self._hold_everyone(wait)
            elif attempt < self._attempts and self._stopped.wait(wait):
                raise Stopped
        raise ScorerError(
            f"{self.url}: no answer after {self._attempts} attempts; the last: {self._shown(last)}. Expected a chat "
            "completion. See whether the endpoint is well, and run again: answers so far are kept."
        )

    def _await_turn(self) -> None:
        """Until this thread's place in the rate limit."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self._interval
        if self._stopped.wait(max(0.0, start - now)):
            raise Stopped
        with self._lock:
            self.requests += 1

    def _hold_everyone(self, seconds: float) -> None:
        """An endpoint that asks one thread to wait means all of them."""
        with self._lock:
            self._next_start = max(self._next_start, time.monotonic() + seconds)

    def _post(self, request: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "preflow"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        body = json.dumps(request, ensure_ascii=True).encode()
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(
                urllib.request.Request(self.url, body, headers, method="POST"), timeout=self._timeout
            ) as response:
                return _read_all(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error, _excerpt(error, deadline)) from None
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            raise _Passing(str(getattr(error, "reason", error)) or type(error).__name__) from None

    def _refused(self, error: urllib.error.HTTPError, body: str) -> Exception:
        said = f"answered {error.code} {error.reason}: {body!r}"
        if error.code in PASSING and "insufficient_quota" not in body:
            return _Passing(said, _retry_after(error.headers.get("Retry-After")))
        if error.code == 400 and re.search("content_?(filter|policy)", body, re.IGNORECASE):
            return _Filtered(body)
        advice = {
            401: "Set the environment variable that endpoint.key_variable names to a valid key.",
            403: "Set the environment variable that endpoint.key_variable names to a key with this right.",
            404: "Mend endpoint.url or endpoint.model.",
            429: "The account is out of quota: waiting does not help.",
        }.get(error.code, "Mend the endpoint section: this answer will not change by asking again.")
        return ScorerError(f"{self.url}: {self._shown(said)}. Expected a chat completion. {advice}")

    def _shown(self, text: object) -> str:
        """What may stand in a message: endpoints echo keys."""
        return str(text).replace(self._key, "***") if self._key else str(text)


def _read_all(response: Any, deadline: float) -> bytes:
    """The body, unless it is not there by the deadline: a socket's own time-out starts anew with every byte."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise _Passing("the answer was not complete in time")
        if size > LARGEST_ANSWER:
            raise _Passing(f"the answer has more than {LARGEST_ANSWER} bytes")
    return b"".join(parts)


def _excerpt(error: urllib.error.HTTPError, deadline: float) -> str:
    try:
        text = _read_all(error, deadline).decode("utf-8", "replace")
    except (_Passing, OSError, http.client.HTTPException):
        text = ""
    return " ".join(text.split())[:SHOWN]


def _read_answer(body: bytes) -> ChatAnswer:
    """The first choice's text; a refusal counts as what the model said. Raises _Passing for broken JSON or another shape."""
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        message = choice["message"]
        reason = choice.get("finish_reason")
        nothing = "" if reason == FILTERED else None
        text = next(each for each in (message.get("content"), message.get("refusal"), nothing) if each is not None)
        if not isinstance(text, str):
            raise TypeError
        tokens = (content.get("usage") or {}).get("total_tokens") or 0
        return ChatAnswer(text, reason, int(tokens))
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration):
        shown = " ".join(body.decode("utf-8", "replace").split())[:SHOWN]
        raise _Passing(f"answered with something that is no chat completion: {shown!r}") from None


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)
