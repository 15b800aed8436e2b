"""`preflow context`: name clusters, and choose one."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from preflow.errors import SettingsError
from preflow_pipelines.cli.options import home, json_option, print_json
from preflow_pipelines.profile import ClusterProfile, contexts_folder, load_profile, save_profile, use_profile

AUTH_OPTIONS = {
    "token_variable": ("token", "variable", "Variable with the bearer token (default KFP_TOKEN)."),
    "token_file": ("token_file", "path", "File with the bearer token, read at each call."),
    "api_service": ("port_forward", "service", "The API's service (default ml-pipeline)."),
    "api_port": ("port_forward", "port", "The service's port (default 8888)."),
    "user_variable": ("dex", "user_variable", "Variable with Dex's user (default KFP_USER)."),
    "password_variable": ("dex", "password_variable", "Variable with the password (default KFP_PASSWORD)."),
    "cookie_variable": ("cookie", "variable", "Variable with the session cookie (default KFP_COOKIE)."),
    "client_id": ("oidc", "client_id", "OAuth client of the proxy."),
    "other_client_id": ("oidc", "other_client_id", "OAuth client for a desktop."),
    "other_client_secret_variable": ("oidc", "other_client_secret_variable", "Variable with that client's secret."),
}
"""Option -> kind of auth, its setting, and help."""
AUTH_KINDS = ("none", "token", "token_file", "port_forward", "dex", "cookie", "oidc")
KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
SECRET_PLACE = re.compile(rf"([A-Za-z_][A-Za-z0-9_]*)=({KUBERNETES_NAME.pattern}/[A-Za-z0-9._-]+)")
SECRET_HELP = (
    "A variable of the pods from a key of a Kubernetes secret, e.g. HF_TOKEN=hub/token. May be given several times."
)
FILES = ("kubeconfig", "images", "token_file")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Name clusters, and choose one; alone, list them. A context is a file in PREFLOW_HOME/contexts and holds no secret.

    \b
    Examples:
      preflow context add work --api https://kfp.example.com --auth token --bucket s3://team/preflow
      preflow context use work
      preflow context show
    """
    if context.invoked_subcommand is None:
        _list(as_json)


def _profile_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option per setting of a profile; `auth` and `secrets` are mappings, and have their own."""
    for name, (kind, _, text) in reversed(AUTH_OPTIONS.items()):
        function = click.option(_flag(name), name, help=f"--auth {kind}: {text}")(function)
    for name, field in reversed(ClusterProfile.model_fields.items()):
        if name not in ("auth", "secrets"):
            required = field.is_required()
            function = click.option(_flag(name), name, required=required, help=_help(name))(function)
    return function


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _help(name: str) -> str:
    field = ClusterProfile.model_fields[name]
    text = (field.description or "") + (
        f" (default {field.default})" if field.default and not field.is_required() else ""
    )
    return f"{text[0].upper()}{text[1:]}." if "://" not in text else f"{text}."


@command.command()
@click.argument("name")
@_profile_options
@click.option("--auth", type=click.Choice(AUTH_KINDS), default="none", show_default=True, help="How one is let in.")
@click.option("--secret", "secrets", multiple=True, metavar="VARIABLE=SECRET/KEY", help=SECRET_HELP)
def add(name: str, auth: str, secrets: tuple[str, ...], **given: Any) -> None:
    """Add the cluster NAME, or write it anew. The first one is in use at once; nothing is asked of the cluster.

    Secrets are named, never given: variables of this machine, files, and secrets of Kubernetes.

    \b
    Examples:
      preflow context add home --auth port_forward --bucket minio://mlpipeline/preflow \\
        --bucket-endpoint http://minio-service.kubeflow:9000 --bucket-endpoint-here http://localhost:9000 \\
        --bucket-secret preflow-bucket --mlflow http://mlflow.kubeflow:5000
      preflow context add work --api https://kfp.example.com --auth dex --namespace team --bucket s3://team/preflow \\
        --pull-secret registry --secret HF_TOKEN=hub/token
    """
    values = {option: value for option, value in given.items() if value is not None}
    refuse_secrets(values)
    content: dict[str, Any] = {key: value for key, value in values.items() if key not in AUTH_OPTIONS}
    for file in FILES:
        if file in values:
            values[file] = _absolute(values[file])
            content.update({file: values[file]} if file in content else {})
    profile = _validated({**content, "auth": _auth(auth, values), "secrets": dict(map(_secret, secrets))}, name)
    existed = (contexts_folder(home()) / f"{name}.yaml").exists()
    path = save_profile(home(), name, profile)
    in_use = load_profile(home())[0] == name
    click.echo(f"{'written anew' if existed else 'written'}: {path}" + (" (in use)" if in_use else ""))
    click.echo("Does all of it work? preflow doctor --cluster" + ("" if in_use else f" --context {name}"))


def _auth(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of this kind of auth. An option of another kind would have no effect, and is refused."""
    found: dict[str, Any] = {"kind": kind}
    for option, (owner, setting, _) in AUTH_OPTIONS.items():
        if option in values and owner != kind:
            raise SettingsError(
                f"{_flag(option)} has no effect with --auth {kind}. Give --auth {owner}, or leave it out."
            )
        if option in values:
            found[setting] = int(values[option]) if setting == "port" and values[option].isdecimal() else values[option]
    if kind == "oidc" and "client_id" not in found:
        raise SettingsError("--auth oidc: expected the OAuth client of the proxy. Give --client-id.")
    return found


def _secret(text: str) -> tuple[str, str]:
    """(variable, SECRET/KEY). What does not look like it is not repeated: it may be the secret itself."""
    match = SECRET_PLACE.fullmatch(text)
    if not match:
        variable = text.partition("=")[0] if "=" in text else "VARIABLE"
        raise SettingsError(
            f"--secret {variable}=...: expected SECRET/KEY, the names of a Kubernetes secret and of its key, e.g. "
            "HF_TOKEN=hub/token. A secret's value is never written down here: make the secret with kubectl."
        )
    return match[1], match[2]


def refuse_secrets(values: Mapping[str, Any]) -> None:
    """Raises SettingsError where a value is a secret and should be the name of one. The value is not repeated."""
    for option in values:
        if option.endswith("_variable") and not _is_variable(values[option]):
            raise SettingsError(
                f"{_flag(option)}: expected the name of an environment variable, such as KFP_TOKEN; what is given is none "
                "that is set here. A secret's value is never written down: put it into a variable, and name that."
            )
        if option in ("bucket_secret", "mlflow_secret", "pull_secret") and not KUBERNETES_NAME.fullmatch(
            values[option]
        ):
            raise SettingsError(f"{_flag(option)}: expected the name of a Kubernetes secret. Make one, and name it.")


def _is_variable(name: str) -> bool:
    return name in os.environ or re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) is not None


def _absolute(place: str) -> str:
    return str(Path(os.path.expanduser(place)).absolute())


def _validated(content: dict[str, Any], name: str) -> ClusterProfile:
    from pydantic import ValidationError

    from preflow.settings.section import explain
    from preflow_pipelines.profile import NAME

    if not re.fullmatch(NAME, name) or name == "current":
        raise SettingsError(f"context {name!r}: expected small letters, digits and hyphens. Choose another name.")
    try:
        return ClusterProfile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(explain(error, ClusterProfile, f"context {name}")) from None


@command.command()
@click.argument("name")
def use(name: str) -> None:
    """Use the cluster NAME from now on.

    \b
    Examples:
      preflow context use work
    """
    use_profile(home(), name)
    click.echo(f"in use: {name}")


@command.command()
@click.argument("name", required=False)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """Show the context NAME, or the one in use.

    \b
    Examples:
      preflow context show
      preflow context show work --json
    """
    import yaml

    found, profile = load_profile(home(), name)
    content = profile.model_dump(mode="json")
    if as_json:
        print_json({"context": found, **content})
        return
    click.echo(f"# {contexts_folder(home()) / found}.yaml")
    click.echo(yaml.safe_dump({key: value for key, value in content.items() if value}, sort_keys=False), nl=False)


def _list(as_json: bool) -> None:
    names = sorted(path.stem for path in contexts_folder(home()).glob("*.yaml"))
    current = load_profile(home())[0] if names and (contexts_folder(home()) / "current").is_file() else None
    rows = []
    for name in names:
        profile = load_profile(home(), name)[1]
        api = profile.api or f"{profile.auth.kind}, namespace {profile.namespace}"
        rows.append({"context": name, "in_use": name == current, "api": api, "bucket": profile.bucket})
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no clusters yet. Add one: preflow context add NAME --api URL --bucket URI")
    else:
        for row in rows:
            click.echo(f"{'*' if row['in_use'] else ' '} {row['context']:<16} {row['api']}  {row['bucket']}")
