"""Creating a run: answers that are lost, places that only pods reach."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import urllib3
import yaml

from fake_api import PROFILE
from preflow.artifacts import bucket as stores
from preflow.artifacts import remote
from preflow.artifacts.bucket import Bucket
from preflow.errors import ClusterError, SettingsError
from preflow.settings.runfile import load_run_file
from preflow_pipelines.cli import check
from preflow_pipelines.hardware import RoleHardware
from preflow_pipelines.runners.cluster import kubernetes_checks, submit
from preflow_pipelines.runners.cluster.connection import Connection
from preflow_pipelines.runners.cluster.submit import Submission

ABOUT = {"method": "dpo", "order": [], "tracking": {"experiment": "e", "uri": None}}
SPEC: dict[str, Any] = {"root": {"dag": {"tasks": {}}}, "components": {}, "deploymentSpec": {"executors": {}}}


def begin(connection: Connection, home: Path) -> Any:
    return submit.start(Submission(SPEC, {}, {}, dict(ABOUT), {}), connection, home)


LOST = urllib3.exceptions.ReadTimeoutError(urllib3.HTTPConnectionPool("api"), "/", "read timed out")


def test_what_is_too_long_as_json_is_refused_here(connection: Connection, tmp_path: Path) -> None:
    """On a command line of the backend's it would be the end of the run, without a word."""
    long = Submission(SPEC, {}, {"loss": '"' * 70_000}, dict(ABOUT), {})
    with pytest.raises(SettingsError, match=r"140\d\d\d bytes as JSON.*longest is 'loss'"):
        submit.start(long, connection, tmp_path)


def test_an_answer_that_was_lost_is_found_in_the_run(connection: Connection, tmp_path: Path) -> None:
    connection.api.error = LOST  # type: ignore[attr-defined]
    folder = begin(connection, tmp_path)
    assert folder.cluster["kfp_run"] == "kfp-1"


def test_where_nobody_knows_what_a_run_reads_is_kept(connection: Connection, tmp_path: Path) -> None:
    connection.api.error, connection.api.arrives = LOST, False  # type: ignore[attr-defined]
    with pytest.raises(ClusterError, match=r"no answer in time.*It may have begun.*look for 'dpo-"):
        begin(connection, tmp_path)
    assert connection.bucket.names("runs") and not list((tmp_path / "runs").iterdir())


def test_a_refusal_leaves_nothing(connection: Connection, tmp_path: Path) -> None:
    connection.api.error = ConnectionRefusedError(111, "refused")  # type: ignore[attr-defined]
    with pytest.raises(ClusterError, match="nothing listens there"):
        begin(connection, tmp_path)
    assert not connection.bucket.names("runs") and not list((tmp_path / "runs").iterdir())


def test_a_run_that_the_api_took_is_there_whatever_the_store_says(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Bucket.write_json

    def fail(bucket: Bucket, name: str, content: Any) -> None:
        if name.endswith("cluster.json"):
            raise stores.BucketError("the store does not answer. Start it.")
        write(bucket, name, content)

    monkeypatch.setattr(Bucket, "write_json", fail)
    assert begin(connection, tmp_path).cluster["url"] == "http://api/kfp-1"


def test_addresses_of_the_contexts_scheme_lead_to_its_store(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFLOW_BUCKET", "PREFLOW_BUCKET_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
    connection.lend_store()
    assert remote._endpoint("s3") == "http://store:9000"
    assert remote._endpoint("gs") == "http://elsewhere"
    assert os.environ["PREFLOW_BUCKET"] == "s3://b/p"


def test_an_empty_pool_that_grows_is_no_error() -> None:
    asked = {"train": RoleHardware(node_selector={"gpu": "yes"}), "data": RoleHardware(cpu="1", autoscaled=True)}
    core = SimpleNamespace(
        list_node=lambda **options: SimpleNamespace(items=[]),
        api_client=SimpleNamespace(sanitize_for_serialization=lambda items: items),
    )
    found = kubernetes_checks._nodes(core, PROFILE, asked, lambda role, nodes: "there is none. Add one.")
    assert {each.name: each.state for each in found} == {"node for train": "problem", "node for data": "not checked"}


def test_what_only_pods_have(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key by a secret of the context; a library by the image. Here a run needs both."""
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a b?", "chosen": "yes", "rejected": "no"}\n')
    (tmp_path / "own.py").write_text("import not_there_at_all\ndef judge(prompts, completions): ...\n")
    content = {"method": "dpo", "model": str(tiny_model), "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.0}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content | {"evaluate": {"judge": "own.py:judge"}}))
    load_run_file(tmp_path / "run.yaml", ())
    check.report_problems(tmp_path / "run.yaml", (), False, {})
    assert "not checked here" in capsys.readouterr().err
    with pytest.raises(click.exceptions.Exit):
        check.report_problems(tmp_path / "run.yaml", (), False)
    with pytest.raises(SettingsError, match="pods have no KEY"):
        check._check_secret("KEY", {})
    check._check_secret("KEY", {"KEY": "llm/key"})
    check._check_secret(None, {})


def test_an_address_of_mlflow_holds_no_password(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("method: dpo\nmodel: m\ndata: {pairs: p.jsonl}\n")
    with pytest.raises(SettingsError, match="leave out all up to the @"):
        load_run_file(tmp_path / "run.yaml", ("tracking.uri=http://me:secret@mlflow",))
