"""What the libraries' errors mean: each as what was found, what was expected, and the fix.

The clients of Kubeflow Pipelines and Kubernetes, urllib3, requests and the sockets below them each have their own errors.
Nothing of a request is repeated here, so no token can be.
"""

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from preflow.errors import ClusterError, PreflowError

SHOWN = 240


@dataclass(frozen=True)
class Service:
    """Somebody who is asked: the name, the address, and what to do if nobody is there, or if one is not let in."""

    name: str
    where: str
    address_fix: str
    credentials_fix: str

    def __str__(self) -> str:
        return f"{self.name} at {self.where}"


@contextlib.contextmanager
def asking(service: Service) -> Iterator[None]:
    """Turns the errors of libraries inside the block into ClusterError. Errors of our own stay what they are."""
    try:
        yield
    except PreflowError:
        raise
    except Exception as error:
        said = explain(error, service)
        if said is None:
            raise
        raise ClusterError(said, _status(error), _in_doubt(error)) from None


def explain(error: BaseException, service: Service) -> str | None:
    """A library's error in plain words; None for what is nobody's answer but a mistake in the code."""
    for each in _chain(error):
        status = getattr(each, "status", None)
        if isinstance(status, int) and status:
            return explain_status(status, _message(each), service)
        if isinstance(each, ssl.SSLError):
            return f"{service}: {_tls(each)}"
        if said := _network(each):
            return f"{service} does not answer: {said}. Expected its API there. {service.address_fix}"
        if isinstance(each, json.JSONDecodeError):
            return not_json(each.doc, service)
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in LIBRARIES:
        return f"{service}: {_short(str(error)) or type(error).__name__}. Expected an answer. {service.address_fix}"
    return None


LIBRARIES = {"urllib3", "requests", "kfp_server_api", "kubernetes", "google", "yaml"}


def explain_status(status: int, message: str, service: Service) -> str:
    """An HTTP status that is no success."""
    said = f"HTTP {status}" + (f": {message}" if message else "")
    if status == 401:
        return f"{service} does not know these credentials, or they expired ({said}). {service.credentials_fix}"
    if status == 403:
        return f"{service} forbids this to these credentials ({said}). {service.credentials_fix}"
    if status == 404 and message not in ("", "Not Found"):
        return f"{service}: {message} (HTTP 404). Was it deleted? {service.address_fix}"
    if status == 404:
        return f"{service}: not found ({said}). Expected its API there. {service.address_fix}"
    if status in (502, 503, 504):
        return f"{service}: there is nothing behind this address now ({said}). Is it running? {service.address_fix}"
    return f"{service} refuses ({said}). Look at its log."


def not_json(text: str, service: Service) -> str:
    """Something answers, and it is not the API: most often a web page, of a login or of the user interface."""
    page = text.lstrip()[:200].lower()
    if page.startswith("<"):
        kind = "a web page, perhaps a login's"
        return (
            f"{service} answers with {kind}, not with the API's JSON. {service.address_fix} {service.credentials_fix}"
        )
    return f"{service} answers {_short(text)!r}, not with the API's JSON. {service.address_fix}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came from, the outermost first; urllib3 keeps them in `reason`, requests in `args`."""
    todo, seen = [error], set()
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]
        todo += [one for one in inner if isinstance(one, BaseException)]


def _status(error: BaseException) -> int | None:
    """The HTTP status that the service answered with; None for no answer, and for a 404 of somebody else's server."""
    for each in _chain(error):
        status = getattr(each, "status", None)
        if isinstance(status, int) and status:
            return None if status == 404 and _message(each) in ("", "Not Found") else status
    return None


def _in_doubt(error: BaseException) -> bool:
    """Whether a request may have arrived: its answer did not come in time, or was lost on its way."""
    kinds = ("ReadTimeoutError", "ProtocolError", "RemoteDisconnected")
    return any(type(each).__name__ in kinds or isinstance(each, ConnectionResetError) for each in _chain(error)) or (
        _status(error) in (502, 504)
    )


def _network(error: BaseException) -> str:
    kind = type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, socket.gaierror) or kind == "NameResolutionError":
        return "its host name is not known here"
    if isinstance(error, TimeoutError) or kind in ("ConnectTimeoutError", "ReadTimeoutError", "ConnectTimeout"):
        return "no answer in time"
    if isinstance(error, ConnectionError) and isinstance(error, OSError) and error.errno is not None:
        return (error.strerror or kind).lower()
    if kind in ("LocationParseError", "InvalidURL", "MissingSchema", "LocationValueError", "URLSchemeUnknown"):
        return "this is no URL"
    return "the connection broke off" if kind in ("ProtocolError", "RemoteDisconnected") else ""


def _tls(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if "WRONG_VERSION" in reason or "UNKNOWN_PROTOCOL" in reason or "RECORD_LAYER" in reason:
        return "it speaks no TLS. Expected https behind an https:// address. Write http://, or mend the port."
    if isinstance(error, ssl.SSLCertVerificationError):
        known = "Expected one of a known authority. Set SSL_CERT_FILE to the file with your authority's certificate."
        return f"its certificate is not trusted ({error.verify_message}). {known}"
    return f"the TLS connection failed ({reason}). Expected https there. Mend the address, or look at the proxy."


def _message(error: Any) -> str:
    """What the server says in the body of an error, without its stack."""
    body = getattr(error, "body", None)
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    return message_of(text) or _short(str(getattr(error, "reason", "") or ""))


def message_of(body: str) -> str:
    """The message in a JSON error; "" for anything else, such as a proxy's page."""
    try:
        content = json.loads(body)
    except ValueError:
        return ""
    found = content if isinstance(content, dict) else {}
    return _short(str(found.get("message") or found.get("error_message") or found.get("error") or ""))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."
