"""images.lock: read whole, by digest, and of the code that is installed; anything else is refused with its fix."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from preflow.errors import ClusterError
from preflow.steps.images import IMAGES, source_digest
from preflow_pipelines.runners.cluster.images import read_lock

DIGEST = f"sha256:{'5' * 64}"


def lock(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {"version": "0.1.0", "revision": "c0ffee", "source": source_digest(), "python": "3.11.9"}
    content |= {role: {"image": f"lab:5000/team/{role}-python@{DIGEST}", "modules": ["numpy"]} for role in IMAGES}
    content |= changes
    path = folder / "images.lock"
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return path


def test_a_lock_is_read(tmp_path: Path) -> None:
    found = read_lock(lock(tmp_path))
    assert found.reference("train") == f"lab:5000/team/train-python@{DIGEST}"
    assert found.images["data"].modules == {"numpy"}
    assert (found.version, found.revision, found.python) == ("0.1.0", "c0ffee", "3.11.9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, r"no image for train.*data, generate, train"),
        ({"data": {"image": "lab/data-python:0.1.0"}}, r"'lab/data-python:0.1.0', a name whose content can change"),
        ({"data": {"image": "lab/data-python:0.1.0@sha256:5"}}, r"a name whose content can change"),
        ({"data": {}}, r"no image for data"),
        ({"source": "0" * 64}, r"other code \(preflow 0.1.0, commit c0ffee\)"),
        ({"source": None}, r"other code"),
    ],
)
def test_any_other_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError, match=rf"(?s)^{re.escape(str(tmp_path))}.*{message}.*make push"):
        read_lock(lock(tmp_path, **changes))


@pytest.mark.parametrize(("content", "message"), [(None, "not there"), ("{", "cannot be read"), ("[]", "no image for")])
def test_what_is_no_lock_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "images.lock"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ClusterError, match=rf"{message}.*make push"):
        read_lock(path)
