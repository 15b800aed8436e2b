"""Signing in, and what is said when the API, MLflow or what answers in their place is not as it should be."""

import datetime
import ipaddress
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from dex import SESSION, Dex
from http_answers import Answer, Request, serving
from preflow.errors import ClusterError
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster import preflight
from preflow_pipelines.runners.cluster.access import explained, kfp_client, kubernetes, mlflow_health
from preflow_pipelines.runners.cluster.findings import Finding
from preflow_pipelines.runners.cluster.preflight import check_api, check_bucket, check_mlflow

SECRET = SESSION
PAGE = Answer(200, "<!doctype html><title>Sign in</title>", {"content-type": "text/html"})


def profile(api: str = "http://127.0.0.1:1", auth: dict[str, Any] | None = None, **more: Any) -> ClusterProfile:
    return ClusterProfile(api=api, auth=auth or {"kind": "none"}, **{"bucket": "s3://bucket", **more})


def api(request: Request) -> Answer:
    """As Kubeflow Pipelines answers."""
    if request.path.startswith("/apis/v2beta1/healthz"):
        return Answer(body='{"multi_user": true}')
    return Answer(body='{"runs": [], "total_size": 0}') if "/runs" in request.path else Answer(404)


def found(cluster: ClusterProfile) -> list[Finding]:
    return list(check_api(cluster))


def only(findings: Any) -> str:
    """The one problem, in words."""
    (finding,) = [each for each in findings if each.state == "problem"]
    assert SECRET not in repr(finding)
    return f"{finding.found} {finding.fix}"


def test_an_api_that_answers() -> None:
    with serving(api) as server:
        assert [(each.name, each.state) for each in found(profile(server.url))] == [
            ("api", "ok"),
            ("credentials", "ok"),
        ]
        assert "namespace=kubeflow" in server.requests[-1].path


def test_making_a_client_asks_nothing_and_reads_no_settings_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "someone-elses")
    with serving(api) as server:
        client = kfp_client(profile(server.url))
        assert server.requests == []
        assert client.get_kfp_healthz().multi_user


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(401, '{"message": "token has expired"}'), "or they expired (HTTP 401: token has expired)"),
        (Answer(403, '{"error": "user may not list"}'), "forbids this to these credentials (HTTP 403: user may not"),
        (Answer(404, "<html>nginx</html>"), "not found (HTTP 404: Not Found)"),
        (Answer(503, ""), "nothing behind this address now (HTTP 503"),
        (Answer(500, '{"message": "database is gone"}'), "refuses (HTTP 500: database is gone). Look at its log"),
        (PAGE, "answers with a web page, perhaps a login's, not with the API's JSON"),
        (Answer(200, "hello"), "answers 'hello', not with the API's JSON"),
        (Answer(200, "[]"), "answers '[]', not"),
    ],
)
def test_an_address_that_is_not_the_api(answer: Answer, said: str) -> None:
    with serving(lambda request: answer) as server:
        assert said in only(found(profile(server.url)))


def test_a_redirect_to_a_login_page_is_a_login_page() -> None:
    def answer(request: Request) -> Answer:
        return PAGE if request.path == "/login" else Answer(302, "", {"location": "/login"})

    with serving(answer) as server:
        text = only(found(profile(server.url)))
        assert "a web page" in text and "--auth token, dex, cookie or oidc" in text


def test_nobody_there() -> None:
    assert "nothing listens there" in only(found(profile("http://127.0.0.1:1")))
    assert "host name is not known" in only(found(profile("http://no-such-host.invalid")))


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "ASK_SECONDS", (0.5, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        started = time.monotonic()
        assert "no answer in time" in only(found(profile(f"http://127.0.0.1:{listening.getsockname()[1]}")))
        assert time.monotonic() - started < 10


def test_tls(tmp_path: Path) -> None:
    with serving(api, _certificate(tmp_path)) as server:
        assert "certificate is not trusted" in only(found(profile(server.url)))
    with serving(api) as server:
        assert "it speaks no TLS" in only(found(profile(server.url.replace("http:", "https:"))))


def test_a_certificate_of_an_authority_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(_certificate(tmp_path)))
    with serving(api, _certificate(tmp_path)) as server:
        assert all(each.state == "ok" for each in found(profile(server.url)))


def test_token_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = {"kind": "token", "variable": "TEST_KFP_TOKEN"}
    with serving(lambda request: api(request) if _bearer(request) == SECRET else Answer(401)) as server:
        assert "TEST_KFP_TOKEN is not set here" in only(found(profile(server.url, auth)))
        monkeypatch.setenv("TEST_KFP_TOKEN", SECRET)
        assert all(each.state == "ok" for each in found(profile(server.url, auth)))
        monkeypatch.setenv("TEST_KFP_TOKEN", SECRET + "-old")
        assert "Put a fresh token into the variable" in only(found(profile(server.url, auth)))


def test_token_of_a_file_is_read_at_each_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    auth = {"kind": "token_file", "path": str(path)}
    with serving(api) as server:
        assert "cannot be read (No such file" in only(found(profile(server.url, auth)))
        path.write_text("first\n")
        client = kfp_client(profile(server.url, auth))
        client.get_kfp_healthz()
        path.write_text("second\n")
        client.get_kfp_healthz()
        assert [_bearer(request) for request in server.requests] == ["first", "second"]


def test_cookie_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_COOKIE", f"authservice_session={SECRET}")
    with serving(api) as server:
        found(profile(server.url, {"kind": "cookie", "variable": "TEST_COOKIE"}))
        assert server.requests[0].headers["cookie"] == f"authservice_session={SECRET}"


def test_dex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_USER", "me@example.com")
    monkeypatch.setenv("KFP_PASSWORD", "wrong")
    with serving(Dex(api)) as server:
        cluster = profile(server.url, {"kind": "dex"})
        assert "Dex does not accept the user and password" in only(found(cluster))
        monkeypatch.setenv("KFP_PASSWORD", "right")
        assert all(each.state == "ok" for each in found(cluster))


def test_calls_say_what_was_being_done() -> None:
    gone = Answer(404, json.dumps({"code": 5, "message": "Run 12 not found", "details": []}))
    with serving(lambda request: gone) as server, pytest.raises(ClusterError) as error:
        with explained(profile(server.url), "asking for run 12"):
            kfp_client(profile(server.url)).get_run("12")
    assert str(error.value).startswith("asking for run 12: Kubeflow Pipelines at http://127.0.0.1:")
    assert "Run 12 not found (HTTP 404). Was it deleted?" in str(error.value)


def test_mistakes_of_our_own_stay_what_they_are() -> None:
    with pytest.raises(KeyError), explained(profile(), "looking"):
        raise KeyError("mine")


def test_kubeconfig_that_is_none(tmp_path: Path) -> None:
    for content in (None, "{}", "no: [yaml"):
        path = tmp_path / "config"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ClusterError, match="Mend kubeconfig and kube_context"):
            kubernetes(profile(kubeconfig=str(path)))


def mlflow(request: Request) -> Answer:
    if request.path == "/health":
        return Answer(body="OK")
    return Answer(body='{"experiments": []}') if request.headers.get("authorization") else Answer(401, "no")


def test_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with serving(mlflow) as server:
        with pytest.raises(ClusterError, match="HTTP 401.*Set MLFLOW_TRACKING_USERNAME"):
            mlflow_health(server.url)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
        mlflow_health(server.url)
        assert server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    with serving(lambda request: PAGE) as server, pytest.raises(ClusterError, match="a web page"):
        mlflow_health(server.url)
    with pytest.raises(ClusterError, match="nothing listens there"):
        mlflow_health("http://127.0.0.1:1")
    with pytest.raises(ClusterError, match="expected the http:// or https:// address"):
        mlflow_health("sqlite:///mlflow.db")


def test_a_name_that_only_pods_know_is_not_checked_from_here() -> None:
    (finding,) = check_mlflow(profile(mlflow="http://mlflow.kubeflow.svc:5000"))
    assert finding.state == "not checked" and "--mlflow-here" in finding.fix


def test_bucket_that_only_pods_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert "--bucket-endpoint-here" in only(check_bucket(profile(bucket_endpoint="http://minio.kubeflow.svc:9000")))
    assert "does not answer" in only(check_bucket(profile(bucket_endpoint_here="http://127.0.0.1:1")))


def _bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _certificate(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1, signed by itself."""
    path = folder / "server.pem"
    if path.exists():
        return path
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(pem))
    return path
