"""`preflow context`: what is written, and that no secret is."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from preflow.errors import PreflowError
from preflow_pipelines.cli.context import AUTH_KINDS, AUTH_OPTIONS
from preflow_pipelines.cli.main import cli
from preflow_pipelines.profile import ClusterProfile, load_profile

SECRET = "hf_aB3dE5fG7hI9"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def context(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["context", *arguments], catch_exceptions=True)


def refused(*arguments: str, home: Path) -> str:
    found = context("add", "lab", *arguments)
    assert isinstance(found.exception, PreflowError) and found.exit_code == 1
    assert not list(home.glob("contexts/*")), "a profile was written"
    text = str(found.exception) + found.output
    assert SECRET not in text, "the secret is repeated"
    return text


def test_add_use_show_and_list(here: Path) -> None:
    assert "preflow context add NAME" in context().output
    url = ("--api", "https://kfp.example.com", "--bucket", "s3://team/preflow")
    assert "(in use)" in context("add", "lab", *url, "--secret", "HF_TOKEN=hub/token", "--images", "my.lock").output
    assert "--context work" in context("add", "work", *url, "--auth", "dex", "--namespace", "team").output
    assert "written anew" in context("add", "work", *url, "--auth", "token", "--namespace", "team").output
    assert load_profile(here)[0] == "lab"
    context("use", "work")
    assert [row["in_use"] for row in json.loads(context("--json").output)] == [False, True]
    assert "* work" in context().output
    shown = json.loads(context("show", "--json").output)
    assert shown["context"] == "work" and shown["auth"] == {"kind": "token", "variable": "KFP_TOKEN"}
    lab = load_profile(here, "lab")[1]
    assert lab.secrets == {"HF_TOKEN": "hub/token"} and lab.images == str(here.parent / "my.lock")
    assert "namespace: team" in context("show", "work").output


def test_every_setting_of_a_profile_has_its_option(here: Path) -> None:
    add = cli.get_command(None, "context").commands["add"]  # type: ignore[arg-type, union-attr]
    options = {parameter.name for parameter in add.params}
    assert set(ClusterProfile.model_fields) | set(AUTH_OPTIONS) <= options
    kinds = ClusterProfile.model_fields["auth"].annotation.__args__  # type: ignore[union-attr]
    settings = {
        (kind.model_fields["kind"].default, name) for kind in kinds for name in kind.model_fields if name != "kind"
    }
    assert {(kind, name) for kind, name, _ in AUTH_OPTIONS.values()} == settings
    assert {kind.model_fields["kind"].default for kind in kinds} == set(AUTH_KINDS)


def test_auth_with_options(here: Path) -> None:
    base = ("--bucket", "s3://b")
    context("add", "a", *base, "--auth", "port_forward", "--api-service", "kfp", "--api-port", "80")
    assert load_profile(here, "a")[1].auth.model_dump() == {"kind": "port_forward", "service": "kfp", "port": 80}
    context("add", "b", *base, "--api", "http://x", "--auth", "oidc", "--client-id", "me")
    assert load_profile(here, "b")[1].auth.kind == "oidc"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--api", f"https://me:{SECRET}@kfp.example.com"), "api: the address holds a user and password"),
        (("--api", "http://x", "--mlflow", f"http://{SECRET}@mlflow"), "mlflow: the address holds"),
        (("--api", "http://x", "--auth", "token", "--token-variable", SECRET), "name of an environment variable"),
        (("--api", "http://x", "--secret", f"HF_TOKEN={SECRET}"), "--secret HF_TOKEN=...: expected SECRET/KEY"),
        (("--api", "http://x", "--secret", SECRET), "expected SECRET/KEY"),
        (("--api", "http://x", "--bucket-secret", SECRET), "the name of a Kubernetes secret"),
        (("--api", "http://x", "--token-variable", "KFP_TOKEN"), "has no effect with --auth none"),
        (("--api", "http://x", "--auth", "oidc"), "Give --client-id"),
        ((), "api is empty"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], said: str, here: Path) -> None:
    assert said in refused(*arguments, "--bucket", "s3://b", home=here)


def test_a_profile_with_a_password_in_an_address_is_refused_wherever_it_came_from(here: Path) -> None:
    path = here / "contexts" / "lab.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"api: http://me:{SECRET}@kfp\nbucket: s3://b\n")
    found = context("show", "lab")
    assert SECRET not in str(found.exception) + found.output
    assert "api: the address holds a user and password" in str(found.exception)


def test_names(here: Path) -> None:
    assert "Contexts: none" in str(context("use", "nobody").exception)
    for name in ("Lab", "current", "../x"):
        assert "Choose another name" in str(context("add", name, "--api", "http://x", "--bucket", "s3://b").exception)
    assert "--context is of use with --cluster only" in CliRunner().invoke(cli, ["doctor", "--context", "x"]).output
