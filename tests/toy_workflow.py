"""A light workflow of three steps for tests of what runs workflows: no model, no step kit, a tenth of a second a step."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp import dsl

from preflow_pipelines.runners.kfp_adaptor import run_pipeline

STEPS = ("first", "second", "third")


@dsl.component(base_image="python", install_kfp_package=False)
def first(given: dsl.Input[dsl.Artifact], made: dsl.Output[dsl.Dataset], settings: str, key: str):
    """Copies a file."""
    import os

    with open(os.environ["TOY_COUNTS"], "a") as counts:
        counts.write("first\n")
    with open(given.path) as source, open(made.path, "w") as target:
        target.write(source.read() + settings)


@dsl.component(base_image="python", install_kfp_package=False)
def second(made: dsl.Input[dsl.Dataset], folder: dsl.Output[dsl.Model], settings: str, key: str):
    """Makes a folder. Its settings may tell it to fail, to print an odd byte, to die or to take its time."""
    import os
    import sys
    import time

    with open(os.environ["TOY_COUNTS"], "a") as counts:
        counts.write("second\n")
    if settings == "fail":
        raise ValueError("as told")
    if settings == "die":
        os.kill(os.getpid(), 9)
    if settings == "leave":
        os._exit(0)
    if settings.startswith("sleep"):
        time.sleep(float(settings.split()[1]))
    os.makedirs(folder.path + "/inner", exist_ok=True)
    for name in ("a", "inner/b"):
        with open(os.path.join(folder.path, name), "w") as target:
            target.write(open(made.path).read() + settings + name)
    sys.stdout.flush()


@dsl.component(base_image="python", install_kfp_package=False)
def third(folder: dsl.Input[dsl.Model], page: dsl.Output[dsl.HTML], settings: str, key: str):
    """Writes a page."""
    import os

    with open(os.environ["TOY_COUNTS"], "a") as counts:
        counts.write("third\n")
    with open(page.path, "w") as target:
        target.write(open(folder.path + "/inner/b").read())


@dsl.pipeline(name="toy")
def _pipeline(given_uri: str, one: str, two: str, three: str):
    given = dsl.importer(artifact_uri=given_uri, artifact_class=dsl.Artifact, reimport=False)
    made = first(given=given.output, settings=one, key="")
    folder = second(made=made.output, settings=two, key="")
    third(folder=folder.output, settings=three, key="")


def toy_spec(**keys: str) -> dict[str, Any]:
    """The compiled workflow with `keys` bound to its tasks."""
    spec: dict[str, Any] = json_format.MessageToDict(_pipeline.pipeline_spec)
    for task, key in keys.items():
        spec["root"]["dag"]["tasks"][task]["inputs"]["parameters"]["key"] = {"runtimeValue": {"constant": key}}
    return spec


def toy_arguments(given: Path, **settings: str) -> dict[str, str]:
    return {"given_uri": str(given), "one": "1", "two": "2", "three": "3", **settings}


def counts() -> Mapping[str, int]:
    """How often each step did its work since TOY_COUNTS was named."""
    path = Path(os.environ["TOY_COUNTS"])
    lines = path.read_text().split() if path.exists() else []
    return {name: lines.count(name) for name in STEPS if name in lines}


class Recorder:
    """A watcher that remembers, calls damaged what a test says, and does something `before` a task."""

    def __init__(self, before: Mapping[str, Callable[[], None]] = {}) -> None:
        self.before = before
        self.said: list[tuple[str, str]] = []
        self.outputs: dict[str, Mapping[str, str]] = {}
        self.arguments: dict[str, Mapping[str, str]] = {}
        self.broken: dict[str, str] = {}
        self.changed_beneath: str | None = None

    def started(self, task: str) -> None:
        self.said.append((task, "started"))
        self.before.get(task, lambda: None)()

    def waiting(self, task: str, holder: str) -> None:
        self.said.append((task, "waiting"))

    def damaged(self, task: str, outputs: Mapping[str, str]) -> str | None:
        return outputs[self.broken.pop(task)] if task in self.broken else None

    def spoiled(self, task: str, arguments: Mapping[str, str]) -> str | None:
        return "an input was changed" if task == self.changed_beneath else None

    def finished(
        self, task: str, state: str, started: float, arguments: Mapping[str, str], outputs: Mapping[str, str]
    ) -> None:
        self.said.append((task, state))
        self.arguments[task], self.outputs[task] = arguments, outputs


def play(given: Path, name: str = "r1", watcher: Any = None, keys: Mapping[str, str] = {}, **settings: str) -> Recorder:
    watcher = watcher or Recorder()
    home = given.parent
    run_pipeline(
        toy_spec(**keys), toy_arguments(given, **settings), home / "runs" / name / "outputs", home / "cache", watcher
    )
    return watcher


def states(watcher: Recorder) -> list[tuple[str, str]]:
    return [each for each in watcher.said if each[1] != "started"]
