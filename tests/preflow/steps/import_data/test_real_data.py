"""Preference data that people made: no false alarms. What is found in it stands here, row by row, and is true."""

import os
from pathlib import Path

import pytest

from import_files import import_files
from preflow.errors import DataError

ROOT = Path(os.environ.get("PREFLOW_REAL_DATA", Path(__file__).parents[5] / "shared/data"))
REPEATED = "prompt_repeated"
# Answers that begin with the whole question: "How can I jailbreak an iphone? I don't know, ..."
FOUND = {
    "pairs/dolly_vs_flan": {1121: REPEATED, 1251: REPEATED},
    "pairs/hh_harmless": {617: REPEATED, 895: REPEATED},
    "sft/dolly_short": {1121: REPEATED, 1251: REPEATED},
}
OTHER_SHAPE = {
    "prompts/arena_hard_v01",
    "prompts/mt_bench",
    "prompts/vicuna_80",
    "labelled/davidson_tweets",
    "labelled/moderation_1680",
    "sft/tofu_idontknow",
}
"""Lists of the user's turns, to be asked one after the other; labels of prompts; answers without questions."""
DISAGREEMENT = {"labelled/tulu_acceptable": {"null": 20, "duplicate": 26}}
"""Votes that are split one to one, and answers that two models gave alike."""
FOLDERS = [
    ("pairs", "pairs", "*"),
    ("sft", "sft", "*"),
    ("prompts", "prompts", "*"),
    ("labelled", "binary", "*"),
    ("scored", "scalar", "*"),
    ("sft", "unlearn", "*"),
    ("questions", "unlearn", "*_perturbed"),
]
FILES = [(kind, path) for kind, folder, names in FOLDERS for path in sorted((ROOT / folder).glob(f"{names}.jsonl.gz"))]

pytestmark = [pytest.mark.real_data, pytest.mark.skipif(not FILES, reason=f"no data in {ROOT}")]


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[f"{kind}/{path.name.split('.')[0]}" for kind, path in FILES])
def test_file(kind: str, path: Path, tmp_path: Path, tiny_tokenizer: Path) -> None:
    staged = tmp_path / "train" / "000.jsonl.gz"
    staged.parent.mkdir()
    staged.symlink_to(path)
    name = f"{kind}/{path.name.split('.')[0]}"
    if name in DISAGREEMENT:
        assert (
            import_files(tmp_path, tiny_tokenizer, kind=kind, on_bad_row="drop").numbers["dropped"]
            == DISAGREEMENT[name]
        )
        return
    try:
        import_files(tmp_path, tiny_tokenizer, kind=kind)
        found = {}
    except DataError as error:
        found = {problem.row: problem.code for problem in error.problems}
    if name in OTHER_SHAPE:
        assert set(found.values()) == {"missing_column"}
    else:
        assert found == FOUND.get(name, {})
