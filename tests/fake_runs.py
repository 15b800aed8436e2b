"""Run folders as the local runner and the step kit write them, without running anything."""

import fcntl
import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import IO, Any

from preflow.artifacts.files import write_json, write_text
from preflow.artifacts.ids import completion_id, prompt_id
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.artifacts.manifest import write_manifest

TASKS = {
    "import-data": "import_data",
    "reference-logps": "reference_logps",
    "train-preference": "train_preference",
    "evaluate": "evaluate",
    "report": "report",
}
STEPS = 20
KEY = "code=78d5433f015a"
SECTIONS = {"train-preference": "train", "evaluate": "evaluate", "import-data": "data"}
TIME = 1_790_000_000.0


class FakeRun:
    """A dpo run that can be written piece by piece. `started` shifts its clock, so that runs have an order."""

    def __init__(self, home: Path, identity: str, beta: float = 0.1, started: float = TIME, **about: Any):
        self.home, self.folder, self.beta, self.clock = home, home / "runs" / identity, beta, started
        (self.folder / "steps").mkdir(parents=True)
        self.lock: IO[str] | None = None
        self.produced: dict[str, dict[str, str]] = {}
        self.sections = {
            "data": {"heldout_fraction": 0.1},
            "train": {"learning_rate": 1e-5, "objective": [{"loss": "preflow.losses.dpo:dpo", "beta": beta}]},
            "evaluate": {"samples_per_prompt": 1, "beta": beta},
        }
        self.about = {
            "id": identity,
            "method": "dpo",
            "created": started,
            "run_file": {
                "method": "dpo",
                "model": "./tiny",
                "data": {"pairs": ["prefs.jsonl"], "prompts": None, "heldout_fraction": 0.1},
                "loss": {"name": "dpo", "beta": beta, "label_smoothing": 0.0},
                "train": {"learning_rate": 1e-5, "batch_size": 8},
                "tracking": {"uri": None, "experiment": "preflow", "register_as": None},
                "seed": 0,
            },
            "sections": {name: json.dumps(value, sort_keys=True) for name, value in self.sections.items()},
            "inputs": {
                "data_files": {"uri": "/in/ab", "digest": "ab" * 32, "files": {"train/000.jsonl": "/data/prefs.jsonl"}}
            },
            "tasks": {task: {"step": step, "key": KEY, "modules": {}, "libraries": {}} for task, step in TASKS.items()},
            "nonces": {},
            "parent": None,
            "relation": None,
            "tracking": {"uri": None, "experiment": "preflow", "register_as": None},
            "version": "0.1.0",
        } | about

    def begin(self) -> "FakeRun":
        """run.json, under the lock that says that the run lives."""
        self.lock = (self.folder / "alive.lock").open("a+")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        write_json(self.folder / "run.json", self.about, indent=1)
        return self

    def whole(self, reuse: "FakeRun | None" = None, reused: tuple[str, ...] = ()) -> "FakeRun":
        """The run from its beginning to its end, with some tasks reused from another run."""
        self.begin()
        for task in TASKS:
            self.cached(task, reuse) if reuse and task in reused else self.executed(task)
        return self.end("SUCCEEDED")

    def end(self, state: str, error: dict[str, Any] | None = None) -> "FakeRun":
        write_json(self.folder / "end.json", {"state": state, "error": error, "ended": self.clock})
        return self.die()

    def die(self) -> "FakeRun":
        """The launcher is gone, whether or not the run has ended."""
        if self.lock:
            self.lock.close()
        return self

    def output(self, task: str, name: str) -> Path:
        return self.folder / "outputs" / "preflow-2026" / task / name

    def running(self, task: str, points: int = STEPS, pid: int | None = None) -> list[dict[str, Any]]:
        """A step at work: step.json without an end, and its metrics so far."""
        started = self.clock
        self.clock += 10.0
        status = {"task": task, "step": TASKS[task], "pid": pid or os.getpid(), "started": started}
        write_json(self.folder / "steps" / f"{task}.step.json", status)
        found = self.points(task, started)[: points * len(self.curves(0)) if task == "train-preference" else None]
        lines = "".join(json.dumps(point) + "\n" for point in found)
        write_text(self.folder / "steps" / f"{task}.metrics.jsonl", lines)
        (self.folder / "steps" / f"{task}.log").write_text(f"{task} at work\n")
        return found

    def executed(self, task: str) -> None:
        started = self.clock
        points = self.running(task)
        outputs = self._outputs(task)
        journal = {
            "step": TASKS[task],
            "task": task,
            "run": self.folder.name,
            "started": started,
            "ended": self.clock,
            "settings": self.settings(task),
            "key": KEY,
            "inputs": {"data": {"path": str(self.output("import-data", "data")), "kind": "pairs/v1", "rows": 90}},
            "outputs": {},
            "metrics": points,
            "facts": {"rows": 90, "note": "text"},
            "warnings": ["the judge is the scorer"] if task == "evaluate" else [],
        }
        write_json(self.output(task, "journal"), journal)
        outputs["journal"] = str(self.output(task, "journal"))
        self.record(task, "EXECUTED", started, outputs, self.folder.name)

    def cached(self, task: str, other: "FakeRun") -> None:
        """A task whose outputs lie in another run's folder."""
        started = self.clock
        self.clock += 0.01
        before = json.loads((other.folder / "steps" / f"{task}.record.json").read_text())
        self.record(task, "CACHED", started, before["outputs"], before["origin"])

    def failed(self, task: str, error: dict[str, Any]) -> None:
        started = self.clock
        self.running(task)
        status = {"task": task, "step": TASKS[task], "pid": 1, "started": started, "ended": self.clock, "error": error}
        write_json(self.folder / "steps" / f"{task}.step.json", status)
        self.record(task, "FAILED", started, {}, self.folder.name, error)

    def record(
        self,
        task: str,
        state: str,
        started: float,
        outputs: dict[str, str],
        origin: str,
        error: dict[str, Any] | None = None,
    ) -> None:
        self.produced[task] = outputs
        arguments = {"settings": json.dumps(self.settings(task)), "key": KEY, **self._arguments(task)}
        files = {name: {".": digest(path.removeprefix(str(self.home)))} for name, path in outputs.items()}
        record = {
            "task": task,
            "step": TASKS[task],
            "state": state,
            "started": started,
            "ended": self.clock,
            "seconds": self.clock - started,
            "arguments": arguments,
            "outputs": outputs,
            "files": files,
            "origin": origin,
            "key": KEY,
            "error": error,
        }
        write_json(self.folder / "steps" / f"{task}.record.json", record)

    def settings(self, task: str) -> dict[str, Any]:
        return self.sections.get(SECTIONS.get(task, ""), {})

    def curves(self, step: int) -> dict[str, float]:
        return {
            "train/loss": math.log(2) * math.exp(-step * self.beta / 10),
            "train/reward_accuracy": 0.5 + 0.02 * step,
            "train/reward_margin": self.beta * step,
            "train/grad_norm": 1.0,
            "train/learning_rate": 1e-5,
        }

    def scores(self) -> dict[str, float]:
        return {
            "eval/win_rate": 0.5 + self.beta / 2,
            "eval/win_rate_low": 0.45 + self.beta / 2,
            "eval/win_rate_high": 0.6 + self.beta / 2,
            "eval/reward_accuracy": 0.7,
            "eval/reward_margin": self.beta,
            "eval/kl_to_reference": 1.5 - self.beta,
            "eval/length_ratio": 1.1,
            "eval/distinct_2": 0.8,
        }

    def points(self, task: str, started: float) -> list[dict[str, Any]]:
        if task == "train-preference":
            return [
                {"name": name, "step": step, "value": value, "time": started + step / 10 + number / 1000}
                for step in range(1, STEPS + 1)
                for number, (name, value) in enumerate(self.curves(step).items())
            ]
        if task == "evaluate":
            scores = self.scores().items()
            return [{"name": name, "step": 0, "value": value, "time": started + 1} for name, value in scores]
        return []

    def _arguments(self, task: str) -> dict[str, str]:
        wanted = {"train-preference": "data", "evaluate": "heldout"}.get(task)
        return {wanted: self.produced["import-data"][wanted]} if wanted and "import-data" in self.produced else {}

    def _outputs(self, task: str) -> dict[str, str]:
        place = self.output(task, "x").parent
        place.mkdir(parents=True, exist_ok=True)
        if task == "import-data":
            return {"data": str(place / "data"), "heldout": str(place / "heldout")}
        if task == "train-preference":
            folder = place / "trained"
            folder.mkdir(exist_ok=True)
            (folder / "config.json").write_text('{"model_type": "tiny"}')
            (folder / "model.safetensors").write_bytes(b"weights" * 1000)
            write_manifest(folder)
            return {"trained": str(folder)}
        if task == "evaluate":
            write_rows(place / "samples", COMPLETIONS, self._samples())
            write_json(place / "numbers", self.scores())
            return {"samples": str(place / "samples"), "numbers": str(place / "numbers")}
        if task == "report":
            (place / "page").write_text("<html><body>the page</body></html>")
            return {"page": str(place / "page")}
        return {}

    def _samples(self) -> list[dict[str, Any]]:
        rows = []
        for number in range(4):
            prompt = [{"role": "user", "content": f"Question {number}?"}]
            identity = prompt_id(prompt)
            for source, score in (("policy", 0.9), ("baseline", 0.4)):
                text = f"the {source} says {number} at {self.beta}"
                rows.append(
                    {
                        "completion_id": completion_id(identity, text, source),
                        "prompt_id": identity,
                        "prompt": prompt,
                        "text": text,
                        "source": source,
                        "sample_index": 0,
                        "score": score,
                        "split": "heldout",
                    }
                )
        return rows


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> float:
    """A start for runs that must look recent."""
    return time.time() - 100
