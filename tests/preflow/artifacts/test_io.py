"""Stamped Parquet: what is written is read back, what does not fit is refused, what is interrupted leaves nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from preflow.artifacts.io import RowWriter, read_rows, read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, KINDS, PAIRS, PROMPTS
from preflow.errors import ArtifactError

ROW = {"prompt_id": "a", "prompt": [{"role": "user", "content": 'é\n"\U0001f600\x00'}], "split": "train"}


def test_round_trip(tmp_path: Path) -> None:
    rows = [{**ROW, "prompt_id": str(number), "answer": None if number % 2 else "x" * 100} for number in range(9000)]
    assert write_rows(tmp_path / "a", PROMPTS, rows, {"rule": "x", "count": 3}) == 9000
    found = list(read_rows(tmp_path / "a", PROMPTS))
    assert [(row["prompt_id"], row["answer"], row["prompt"]) for row in found] == [
        (r["prompt_id"], r["answer"], r["prompt"]) for r in rows
    ]
    stamp = read_stamp(tmp_path / "a")
    assert (stamp.kind, stamp.rows, stamp.facts) == ("prompts/v1", 9000, {"rule": "x", "count": 3})


def test_empty_file_keeps_its_kind(tmp_path: Path) -> None:
    for kind in KINDS.values():
        write_rows(tmp_path / kind.name, kind, [])
        assert read_stamp(tmp_path / kind.name).kind == kind.stamp
        assert list(read_rows(tmp_path / kind.name, kind)) == []


def test_integers_in_float_columns_and_long_rows(tmp_path: Path) -> None:
    row = {"completion_id": "c", "prompt_id": "p", "text": "y" * 5_000_000, "score": 1, "token_ids": []}
    write_rows(tmp_path / "a", COMPLETIONS, [row, row])
    found = list(read_rows(tmp_path / "a", COMPLETIONS, ("score", "token_ids")))
    assert found == [{"score": 1.0, "token_ids": []}] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "text"}, "row 3: does not fit prompts/v1.*prompt"),
        ({"split": None}, "row 3: no 'split'"),
        ({"nonsense": 1}, "row 3: does not fit"),
        ({"prompt_id": 7}, "row 3: does not fit.*prompt_id"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        write_rows(tmp_path / "a", PROMPTS, [ROW, ROW, {**ROW, **change}])
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="finite"):
        write_rows(
            tmp_path / "a", COMPLETIONS, [{"completion_id": "c", "prompt_id": "p", "text": "t", "score": float("nan")}]
        )


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", PROMPTS, [ROW])
    with pytest.raises(ZeroDivisionError), RowWriter(tmp_path / "a", PROMPTS) as writer:
        writer.write(ROW)
        1 / 0  # noqa: B018
    assert read_stamp(tmp_path / "a").rows == 1


def test_other_kinds_and_other_files_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", PROMPTS, [ROW])
    with pytest.raises(ArtifactError, match=r"holds prompts/v1, expected pairs/v1"):
        read_rows(tmp_path / "a", PAIRS)
    (tmp_path / "b").write_bytes(b"PAR1 not really")
    with pytest.raises(ArtifactError, match="not a whole Parquet file"):
        read_rows(tmp_path / "b", PAIRS)
    with pytest.raises(ArtifactError, match="no such artifact"):
        read_rows(tmp_path / "absent", PAIRS)


def test_killed_while_publishing_leaves_no_target(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom preflow.artifacts import files\nfrom preflow.artifacts.io import write_rows\n"
        "from preflow.artifacts.kinds import PROMPTS\n"
        "files._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_rows({str(tmp_path / 'a')!r}, PROMPTS, [{ROW!r}])\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert not (tmp_path / "a").exists()
    write_rows(tmp_path / "a", PROMPTS, [ROW])


def test_light_steps_stay_light(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom preflow.artifacts.io import read_rows, write_rows\nfrom preflow.artifacts.kinds import PROMPTS\n"
        f"write_rows({str(tmp_path / 'a')!r}, PROMPTS, [{ROW!r}])\nlist(read_rows({str(tmp_path / 'a')!r}, PROMPTS))\n"
        "assert not {'pandas', 'torch', 'mlflow', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
