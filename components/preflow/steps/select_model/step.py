"""Selection: the better of two models. Folded over the rounds of a run it is the choice of the best round."""

import json
import os
import shutil
from pathlib import Path

from preflow.artifacts.files import publish_file, publish_folder
from preflow.artifacts.manifest import verify_manifest
from preflow.errors import SettingsError
from preflow.settings.select import SelectSettings
from preflow.steps.kit import Step

NO_BETTER = 0.5
WIN_RATE = "eval/win_rate"


def run(step: Step, *, trained: str, numbers: str, train_journal: str, **inputs: str) -> None:
    """Write the better model to `trained`, its numbers and its training's journal; of two equals it is the first.

    `inputs`: first and second, models; first_numbers, second_numbers, JSON of their evaluations; first_train_journal,
    second_train_journal. Raises SettingsError where an evaluation lacks the metric, ArtifactError for a damaged model.
    """
    metric = step.settings(SelectSettings).metric
    values = {side: _value(inputs[f"{side}_numbers"], metric) for side in ("first", "second")}
    better = "second" if values["second"] > values["first"] else "first"
    _copy_model(Path(inputs[better]), trained)
    _copy_file(inputs[f"{better}_numbers"], numbers)
    _copy_file(inputs[f"{better}_train_journal"], train_journal)
    step.fact("kept", better)
    step.fact("metric", metric)
    for side, value in values.items():
        step.fact(side, value)
    if metric == WIN_RATE and values[better] < NO_BETTER:
        step.warn(
            f"neither model wins as often as the start model (win rates {values['first']:.3f} and {values['second']:.3f}); "
            "the better one is kept."
        )


def _value(numbers: str, metric: str) -> float:
    found = json.loads(Path(numbers).read_text(encoding="utf-8"))
    if metric not in found:
        names = ", ".join(sorted(name for name in found if name.startswith("eval/"))) or "nothing"
        raise SettingsError(
            f"rounds.metric is {metric}, but the evaluation measured {names}. Name one of these; a win rate needs "
            "evaluate.judge, reward accuracy held-out pairs."
        )
    return float(found[metric])


def _copy_model(source: Path, target: str) -> None:
    """Hard links where the file system can: weights are big, and artifacts are never edited."""
    verify_manifest(source)
    with publish_folder(target) as folder:
        shutil.copytree(source, folder, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _copy_file(source: str, target: str) -> None:
    with publish_file(target) as temporary:
        shutil.copyfile(source, temporary)
