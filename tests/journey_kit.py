"""Runs of the command line in folders of their own, for journeys."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import tiny

ROOT = Path(__file__).parents[1]


class Desk:
    """A folder with a tiny model, data, a scorer and run files, a home of its own, and (if asked) its own copy of the code."""

    def __init__(self, folder: Path, *, own_code: bool = False):
        self.folder = folder
        self.home = folder / "home"
        self.code = ROOT
        folder.mkdir(parents=True, exist_ok=True)
        if own_code:
            self.code = folder / "code"
            for root in ("components", "pipelines"):
                shutil.copytree(ROOT / root, self.code / root, ignore=shutil.ignore_patterns("__pycache__"))
        tiny.make_model(folder / "model")
        self.write_pairs(24)
        tiny.write_jsonl(
            folder / "prompts.jsonl", ({"prompt": row["prompt"][0]["content"]} for row in tiny.prompt_rows(10))
        )
        (folder / "scorers.py").write_text(
            "def short(prompts, completions):\n    return [-len(text) / 10 for text in completions]\n\n\n"
            "def vowels(prompts, completions):\n    return [sum(c in 'aeiou' for c in text) / (1 + len(text)) for text in completions]\n"
        )

    def write_pairs(self, count: int, name: str = "pairs.jsonl") -> Path:
        rows = ({key: row[key] for key in ("prompt", "chosen", "rejected")} for row in tiny.pair_rows(count))
        return tiny.write_jsonl(self.folder / name, rows)

    def run_file(self, name: str = "dpo.yaml", **changes: Any) -> Path:
        """A dpo run file (rso with `method="rso"`); sections in `changes` are merged into it."""
        content: dict[str, Any] = {
            "method": "dpo",
            "model": "./model",
            "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.25},
            "train": {"learning_rate": 1e-3, "batch_size": 4},
            "evaluate": {"judge": "scorers.py:vowels", "max_new_tokens": 6, "kl_samples_per_prompt": 0},
        }
        if changes.get("method") == "rso":
            content["data"] = {"prompts": "prompts.jsonl", "heldout_fraction": 0.25}
            content["generate"] = {"max_new_tokens": 6, "candidates_per_prompt": 4}
            content["score"] = {"scorer": "scorers.py:short"}
        for key, value in changes.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        path = self.folder / name
        path.write_text(yaml.safe_dump(content))
        return path

    @property
    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join(str(self.code / root) for root in ("components", "pipelines"))
        return {**os.environ, "PREFLOW_HOME": str(self.home), "PYTHONPATH": paths, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "preflow_pipelines.cli.main", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def call(self, *arguments: str, code: int = 0) -> str:
        """Standard output of a command that must leave with `code`."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == code, f"exit {process.returncode}\n{output}\n{errors}"
        return output

    def run(self, *arguments: str) -> dict[str, Any]:
        """A run as its JSON."""
        found: dict[str, Any] = json.loads(self.call("run", *arguments, "--json"))
        return found

    def edit(self, name: str, old: str, new: str) -> None:
        """Edit a file of this desk's own code."""
        path = self.code / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


def executed(run: dict[str, Any]) -> set[str]:
    """Names of the steps that ran; every other one must have been reused."""
    states = {step["name"]: step["state"] for step in run["steps"]}
    assert set(states.values()) <= {"EXECUTED", "CACHED"}, states
    return {name for name, state in states.items() if state == "EXECUTED"}
