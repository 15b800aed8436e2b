"""Settings that change nothing as the others stand: an option without effect is an error."""

from typing import Any

from preflow.errors import SettingsError
from preflow.settings.other_data import completions_without_effect
from preflow.settings.rewarding import rewards_without_effect
from preflow.settings.selecting import rounds_without_effect

BESIDE = ("targets", "teacher", "retain")
"""Sections with rows that nothing is measured on."""
SPLIT_ALIKE = "these rows are split as the data are, or not at all"


def refuse_without_effect(run_file: Any, content: dict[str, Any], where: str) -> None:
    """Raises SettingsError for the first setting of a run file's own that changes nothing."""
    for section, key, reason in without_effect(run_file):
        given = content.get(section)
        if isinstance(given, dict) and given.get(key) is not None:
            raise SettingsError(f"{where}: {section}.{key} has no effect: {reason}. Remove it.")
    sft = content.get("sft")
    if isinstance(sft, dict) and isinstance(sft.get("data"), dict) and "heldout_fraction" in sft["data"]:
        raise SettingsError(f"{where}: sft.data.heldout_fraction has no effect: {SPLIT_ALIKE}. Remove it.")


def without_effect(run: Any) -> list[tuple[str, str, str]]:
    """Settings that change nothing as the others stand, with the reason."""
    found = [(name, "heldout_fraction", SPLIT_ALIKE) for name in BESIDE if getattr(run, name) is not None]
    if run.train is not None and run.train.warmup_steps:
        found.append(("train", "warmup_ratio", "train.warmup_steps is not 0"))
    if run.data.split_column or run.data.heldout:
        found.append(("data", "heldout_fraction", "the split comes from the split column or the held-out files"))
    if run.data.heldout or run.evaluate.pairs or run.evaluate.prompts:
        found.append(("data", "split_column", "held-out rows come from files of their own"))
    if run.evaluate.pairs or run.evaluate.prompts:
        found += [("data", key, "evaluation has files of its own") for key in ("heldout", "heldout_fraction")]
    if run.rejection and run.rejection.rule == "best_of_n":
        found += [("rejection", key, "best_of_n draws nothing") for key in ("temperature", "seed")]
    if run.evaluate.samples_per_prompt == 0:
        found += [("evaluate", key, "samples_per_prompt is 0") for key in ("judge", "baseline", "temperature", "top_k")]
    return found + rewards_without_effect(run) + rounds_without_effect(run) + completions_without_effect(run)
