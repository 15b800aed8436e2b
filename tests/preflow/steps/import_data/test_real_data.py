"""Preference data that people made: no false alarms. What is found in it stands here, row by row, and is true."""

import gzip
import json
import os
from pathlib import Path

import pytest
from import_files import import_files

from preflow.errors import DataError

ROOT = Path(os.environ.get("PREFLOW_REAL_DATA", Path(__file__).parents[5] / "shared/data"))
FOUND: dict[str, dict[int, str]] = {}
FILES = [
    (kind, path)
    for kind, folder in (("pairs", "pairs"), ("sft", "sft"), ("prompts", "prompts"))
    for path in sorted((ROOT / folder).glob("*.jsonl.gz"))
]

pytestmark = [pytest.mark.real_data, pytest.mark.skipif(not FILES, reason=f"no data in {ROOT}")]


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[f"{kind}/{path.name.split('.')[0]}" for kind, path in FILES])
def test_file(kind: str, path: Path, tmp_path: Path, tiny_tokenizer: Path) -> None:
    staged = tmp_path / "train" / "000.jsonl.gz"
    staged.parent.mkdir()
    staged.symlink_to(path)
    name = f"{kind}/{path.name.split('.')[0]}"
    try:
        import_files(tmp_path, tiny_tokenizer, kind=kind)
        found = {}
    except DataError as error:
        found = {problem.row: (problem.code, problem.message) for problem in error.problems}
        print(name, error.total)
        with gzip.open(path, "rt") as file:
            for number, line in enumerate(file, 1):
                if number in found:
                    print(number, found[number], json.dumps(json.loads(line))[:300])
    assert found == FOUND.get(name, {})
