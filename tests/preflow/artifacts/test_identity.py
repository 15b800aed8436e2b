"""Content ids, digests, manifests, and the digest of the code a step can reach."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from preflow.artifacts import code, digests
from preflow.artifacts.code import code_digest, make_key, modules_named_in, parse_key, step_roots
from preflow.artifacts.digests import DigestIndex, file_sha256
from preflow.artifacts.ids import canonical_json, completion_id, pair_id, prompt_id, sequence_id
from preflow.artifacts.manifest import read_manifest, verify_manifest, write_manifest
from preflow.errors import ArtifactError

ROOT = Path(__file__).parents[3] / "components" / "preflow"


def test_ids_depend_on_content_alone() -> None:
    prompt = [{"role": "user", "content": "hé"}]
    assert prompt_id(prompt) == prompt_id([{"content": "hé", "role": "user"}])
    assert prompt_id(prompt) != prompt_id([{"role": "system", "content": "hé"}])
    assert completion_id("p", "t", "policy", 0) != completion_id("p", "t", "policy", 1)
    assert pair_id("p", "a", "b") != pair_id("p", "b", "a")
    assert sequence_id([1, 2], [3]) != sequence_id([1], [2, 3])
    assert canonical_json({"b": 1.0, "a": [None, True]}) == '{"a":[null,true],"b":1.0}'


def test_digest_index_sees_changes_in_place(tmp_path: Path) -> None:
    path, index = tmp_path / "a", DigestIndex(tmp_path / "index.json")
    path.write_text("one")
    first = index.sha256(path)
    index.save()
    path.write_text("two")
    again = DigestIndex(tmp_path / "index.json")
    assert again.sha256(path) == file_sha256(path) != first


def test_digest_index_is_not_deceived_by_an_mtime_that_was_put_back(tmp_path: Path) -> None:
    path, index = tmp_path / "a", DigestIndex(tmp_path / "index.json")
    path.write_text("one")
    os.utime(path, (1, 1))
    time.sleep(0.05)
    first = index.sha256(path)
    with path.open("r+") as file:
        file.write("two")
    os.utime(path, (1, 1))
    assert index.sha256(path) == file_sha256(path) != first


def test_digest_index_remembers_what_has_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, index = tmp_path / "a", DigestIndex(tmp_path / "index.json")
    path.write_text("one")
    time.sleep(0.05)
    first = index.sha256(path)
    monkeypatch.setattr(digests, "file_sha256", lambda path: "read again")
    assert index.sha256(path) == first
    path.write_text("two")  # it could change once more within the same tick
    assert index.sha256(path) == index.sha256(path) == "read again"
    assert not index._known or index._known[str(path)][-1] == first


def test_manifest_names_the_file_that_differs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    write_manifest(tmp_path, {"from": "x"})
    assert verify_manifest(tmp_path).facts == {"from": "x"}
    (tmp_path / "sub" / "a").write_text("2")
    with pytest.raises(ArtifactError, match="sub/a: differs"):
        verify_manifest(tmp_path)
    (tmp_path / "sub" / "a").unlink()
    with pytest.raises(ArtifactError, match="sub/a: missing"):
        verify_manifest(tmp_path)
    with pytest.raises(ArtifactError, match="no manifest"):
        read_manifest(tmp_path / "sub")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package whose files can be edited; digests are taken from it."""
    target = tmp_path / "preflow"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns("__pycache__"))

    def source(module: str) -> Path | None:
        base = target.joinpath(*module.split(".")[1:])
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    monkeypatch.setattr(code, "_source", source)
    return target


def train_digest(loss: str) -> str:
    settings = json.dumps({"objective": [{"loss": loss}]})
    return code_digest(step_roots("train_preference", settings)).digest


def edit(path: Path, old: str, new: str) -> None:
    code._parse.cache_clear()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_loss_counts_for_its_users_alone(copy: Path) -> None:
    dpo, rso = train_digest("preflow.losses.dpo:dpo"), train_digest("preflow.losses.rso:hinge_norm")
    edit(copy / "losses" / "rso.py", "(1 - beta * h).relu()", "(1.0 - beta * h).relu()")
    assert train_digest("preflow.losses.dpo:dpo") == dpo
    assert train_digest("preflow.losses.rso:hinge_norm") != rso


def test_comments_and_docstrings_do_not_count(copy: Path) -> None:
    before = train_digest("preflow.losses.dpo:dpo")
    edit(copy / "losses" / "dpo.py", '"""DPO:', '"""The DPO loss:')
    edit(copy / "training" / "gradient.py", "import torch\n", "# numbers\nimport torch\n")
    assert train_digest("preflow.losses.dpo:dpo") == before
    edit(copy / "training" / "gradient.py", "numpy as np", "numpy as numbers")
    assert train_digest("preflow.losses.dpo:dpo") != before


def test_no_step_reaches_the_catalogue() -> None:
    for step in (path.parent.name for path in ROOT.glob("steps/*/step.py")):
        reached = code_digest(step_roots(step, "{}")).modules
        assert not [name for name in reached if name.startswith("preflow.methods")]
        assert not {"preflow.settings.runfile", "preflow.settings.loss", "preflow.settings.plan"} & set(reached)


@pytest.mark.parametrize("step", ["import_data", "rejection_sample", "build_pairs", "score_candidates", "report"])
def test_light_steps_reach_no_torch(step: str) -> None:
    assert not {"torch", "transformers", "mlflow", "kfp"} & set(code_digest(step_roots(step, "{}")).foreign)


def test_keys_and_named_modules() -> None:
    assert modules_named_in('{"a": ["preflow.losses.dpo:dpo", "preflow is nice"], "b": {"c": "preflow.x.y"}}') == [
        "preflow.losses.dpo",
        "preflow.x.y",
    ]
    key = make_key("abc", {"torch": "2.13.0"}, "7")
    assert parse_key(key)["code"] == "abc"
    assert parse_key(key)["again"] == "7"
    assert parse_key("") == {}
    with pytest.raises(ModuleNotFoundError):
        code_digest(["preflow.losses.absent"])
