"""A training as a pod of a cluster has it: alone with its inputs, a bucket and its environment. For tests that end it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tiny
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import PAIRS
from preflow.settings.train import TrainSettings

SCRIPT = """
import json, os, sys
from types import SimpleNamespace
if "PREFLOW_TEST_STORE" in os.environ:
    import local_store
    local_store.use()
from preflow.steps.kit import running
def artifact(path):
    return SimpleNamespace(path=path, uri="s3://somewhere", metadata={})
about = json.load(open(sys.argv[1]))
inputs = {name: artifact(path) for name, path in about["inputs"].items()}
outputs = {"trained": artifact(about["trained"])}
with running("train_preference", about["settings"], "", artifact(about["journal"]), inputs, outputs) as step:
    from preflow.steps.train_preference.step import run
    run(step, trained=about["trained"], **about["inputs"])
"""
LINEAGE = "0123456789abcdef" * 2
SETTINGS = {
    "objective": [{"loss": "preflow.losses.cpo:cpo", "arguments": {"beta": 0.5}}],
    "batch_size": 4,
    "micro_batch_tokens": 128,
    "learning_rate": 1e-3,
    "epochs": 12,
    "checkpoint_steps": 4,
}


class Pods:
    """Pods of the task `train-preference`, each with a disk of its own."""

    def __init__(self, folder: Path, bucket: dict[str, str], model: Path, tokenizer: Path):
        self.folder, self.bucket = folder, bucket
        write_rows(folder / "pairs", PAIRS, tiny.pair_rows(12))
        self.inputs = {"data": str(folder / "pairs"), "model": str(model), "tokenizer": str(tokenizer)}
        (folder / "work.py").write_text(SCRIPT)

    def start(self, name: str, run: str = "r1", lineage: str = LINEAGE) -> "Pod":
        disk = self.folder / name
        disk.mkdir()
        about = {
            "settings": TrainSettings.model_validate(SETTINGS).canonical(),
            "inputs": self.inputs,
            "trained": str(disk / "trained"),
            "journal": str(disk / "journal"),
        }
        (disk / "about.json").write_text(json.dumps(about))
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | self.bucket | {"PREFLOW_RUN_ID": run, "PREFLOW_TASK": "train-preference"}
        environment |= {"PREFLOW_LINEAGE": lineage, "PREFLOW_POD_FOLDER": str(disk / "preflow" / "run")}
        environment |= {"PYTHONPATH": path}
        command = [sys.executable, str(self.folder / "work.py"), str(disk / "about.json")]
        with (disk / "log").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return Pod(disk, process)


class Pod:
    """One of them."""

    def __init__(self, disk: Path, process: "subprocess.Popen[bytes]"):
        self.disk, self.process = disk, process

    @property
    def log(self) -> str:
        return (self.disk / "log").read_text(errors="replace")

    @property
    def weights(self) -> bytes:
        return (self.disk / "trained" / "model.safetensors").read_bytes()

    def wait_for(self, text: str, seconds: float = 300.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def end(self, seconds: float = 300.0) -> int:
        """Its exit code."""
        return self.process.wait(seconds)
