"""What `preflow demo` shows at its end."""

import sys
from pathlib import Path

import pytest

from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow_pipelines.cli.demo import before_and_after, own_command, side_by_side

METRICS = {
    "eval/length": 24.0,
    "eval/baseline_length": 23.5,
    "eval/distinct_2": 0.83,
    "eval/baseline_distinct_2": 0.87,
    "eval/judge_score": 0.374,
    "eval/baseline_judge_score": 0.12,
    "eval/win_rate": 0.765,
    "eval/win_rate_low": 0.695,
    "eval/win_rate_high": 0.835,
    "eval/kl_to_reference": 4.48,
    "eval/kl_to_reference_se": 0.314,
}


def test_the_table_shows_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    before_and_after(METRICS)
    lines = capsys.readouterr().out.splitlines()
    words = {
        line.split("│")[0].strip(): [cell.strip() for cell in line.split("│")[1:]] for line in lines if "│" in line
    }
    assert words["judge's score"] == ["0.120", "0.374"]
    assert words["distinct bigrams"] == ["0.870", "0.830"]
    assert words["win rate against before"] == ["0.500", "0.765  [0.695, 0.835]"]
    assert words["KL to before (nats)"] == ["0.000", "4.480  ± 0.314"]


def test_the_table_leaves_out_what_was_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """`--set evaluate.judge=null` and `--set evaluate.kl_samples_per_prompt=0` are the user's right."""
    before_and_after({name: value for name, value in METRICS.items() if "length" in name or "distinct" in name})
    shown = capsys.readouterr().out
    assert "length" in shown
    assert "win rate" not in shown
    assert "KL" not in shown


def test_samples_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "completion_id": f"{prompt}{index}{side}",
            "prompt_id": prompt,
            "prompt": [{"role": "user", "content": f"The {prompt} film"}],
            "sample_index": index,
            "text": f" {side}\n\nof {prompt} {index}",
            "source": side,
            "split": "heldout",
        }
        for prompt in ("first", "second", "third", "fourth")
        for index in range(2)
        for side in ("policy", "baseline")
    ]
    write_rows(tmp_path / "samples", COMPLETIONS, rows)
    side_by_side(str(tmp_path / "samples"))
    shown = capsys.readouterr().out
    assert shown.startswith(
        "\nThe first film ...\n  before  ... baseline of first 0\n  after   ... policy of first 0\n"
    )
    assert shown.count("before") == shown.count("after") == 3
    assert "fourth" not in shown
    assert " 1" not in shown


def test_the_command_named_at_the_end_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make demo` runs the program from a virtual environment that nobody activated."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path / ".venv" / "bin" / "preflow"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_command() == ".venv/bin/preflow"
    monkeypatch.setattr(sys, "argv", ["-m"])
    assert own_command() == f"{sys.executable} -m preflow_pipelines.cli.main"
    monkeypatch.setenv("PATH", str(program.parent))
    assert own_command() == "preflow"
