"""From the shapes people have to one record: messages as the prompt, texts as the completions.

Known shapes: prompt with chosen and rejected (texts or messages); chosen and rejected with a common beginning that is
the prompt (whole conversations, texts, or transcripts of "Human:" and "Assistant:"); prompt with completion, or a
conversation in `messages`, with a label or a score where the kind has one; a question with a right and wrong answers;
prompts alone.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preflow.settings.data import ImportSettings
from preflow.steps.import_data.columns import missing_column, named_values, split_of_row, unread_texts
from preflow.steps.import_data.labels import label_of
from preflow.steps.import_data.messages import (
    Messages,
    common_beginning,
    conversation,
    messages_of,
    refuse_undecodable,
    shown,
    text_of,
)
from preflow.steps.import_data.problems import RowError

ROWS = {
    "sft": "demonstrations",
    "labelled": "labelled completions",
    "scored": "scored completions",
    "negatives": "unwanted completions",
}
"""What messages call the rows of a kind."""


@dataclass(frozen=True)
class Record:
    """A row, read. `completions` maps chosen and rejected, or target, to their texts; it is empty for prompts.

    A question has its right answer as target, `paraphrased` where there is one, and `perturbed 1`, `perturbed 2`, ...
    """

    prompt: Messages
    completions: dict[str, str]
    source: str | None = None
    answer: str | None = None
    split: str | None = None
    scores: tuple[float | None, float | None] = (None, None)
    label: bool | None = None
    score: float | None = None

    @property
    def facet(self) -> bool | float | None:
        """What the row says of its completion."""
        return self.score if self.label is None else self.label


def to_record(row: Mapping[str, Any], settings: ImportSettings, implicit_texts: bool = False) -> Record:
    """Raises RowError naming what was found, what was expected, and the fix.

    `implicit_texts`: a pair of texts without a prompt column begins with its prompt. Where other rows of the file do
    have that column, it is missing instead.
    """
    values = named_values(row, settings)
    if settings.kind == "pairs":
        prompt, completions = _pair(values, row, implicit_texts and not unread_texts(row, settings))
    elif settings.kind == "prompts":
        prompt, completions = _prompt(values, row)
    elif settings.kind == "questions":
        prompt, completions = _question(values, row)
    else:
        prompt, completions = _demonstration(values, row, settings)
    return Record(
        prompt,
        completions,
        source=_optional_text(values, "source"),
        answer=_optional_text(values, "answer") if settings.kind == "prompts" else None,
        split=split_of_row(row, settings),
        scores=(_score(values, "chosen_score"), _score(values, "rejected_score")),
        label=label_of(_needed(values, row, "label")) if settings.kind == "labelled" else None,
        score=_known_score(_needed(values, row, "score")) if settings.kind == "scored" else None,
    )


def _pair(values: Mapping[str, Any], row: Mapping[str, Any], implicit_texts: bool) -> tuple[Messages, dict[str, str]]:
    for side in ("chosen", "rejected"):
        if side not in values:
            raise missing_column(side, row, "pairs need it")
    if "prompt" in values:
        prompt = messages_of(values["prompt"], "prompt")
        return prompt, {side: _completion(values[side], side, prompt) for side in ("chosen", "rejected")}
    common, chosen, rejected = common_beginning(values["chosen"], values["rejected"], implicit_texts)
    if common is None:
        raise missing_column("prompt", row, "pairs need it, or whole conversations that begin alike")
    completions = {"chosen": chosen, "rejected": rejected}
    return common, {side: _completion(value, side, common) for side, value in completions.items()}


def _demonstration(
    values: Mapping[str, Any], row: Mapping[str, Any], settings: ImportSettings
) -> tuple[Messages, dict[str, str]]:
    if "prompt" in values and "completion" in values:
        prompt = messages_of(values["prompt"], "prompt")
        return prompt, {"target": _completion(values["completion"], "completion", prompt)}
    if "messages" not in values:
        name = "completion" if "prompt" in values else "messages" if "completion" not in values else "prompt"
        error = missing_column(name, row, f"{ROWS[settings.kind]} need prompt and completion, or messages")
        if {"chosen", "rejected"} <= row.keys():
            side = "rejected" if settings.kind == "negatives" else "chosen"
            error.fix = (
                f"These are pairs: map one side, columns: {{completion: {side}}} beside the files, or take a method that "
                "starts from data.pairs."
            )
        raise error
    messages = messages_of(values["messages"], "messages")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        found = f"messages end with role {messages[-1]['role']!r}, expected an assistant turn after a prompt."
        raise RowError("no_completion", found, "Add the answer, or import as prompts.")
    return messages[:-1], {"target": _completion(messages[-1:], "messages", messages[:-1])}


def _question(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Messages, dict[str, str]]:
    """Its answers by name, as in TOFU: paraphrased and perturbed ones are a text or a list of texts."""
    for name in ("prompt", "completion"):
        if name not in values:
            raise missing_column(name, row, "questions need prompt and completion (or question and answer)")
    prompt = messages_of(values["prompt"], "prompt")
    found = {"target": _completion(values["completion"], "completion", prompt)}
    for name in ("paraphrased", "perturbed"):
        for label, text in _texts(values.get(name), name):
            found[label] = _completion(text, label, prompt)
    return prompt, found


def _texts(value: Any, name: str) -> list[tuple[str, Any]]:
    """A text, a list of texts, or such a list encoded as JSON (a cell of a CSV file), each with its name in messages."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, list):
        return [(f"{name} {number}", text) for number, text in enumerate(value, 1)]
    return [] if value is None else [(name, value)]


def _prompt(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Messages, dict[str, str]]:
    name = "prompt" if "prompt" in values else "messages"
    if name not in values:
        raise missing_column("prompt", row, "prompts need it")
    return messages_of(values[name], name), {}


def _completion(value: Any, name: str, prompt: Messages) -> str:
    """The completion's text: it is one, or one assistant turn."""
    messages = conversation(value, name)
    if isinstance(messages, str):
        return messages
    if messages[0] in prompt[-1:]:
        fix = "Remove that turn, or set columns: {prompt: null} beside the files (the common beginning is then the prompt)."
        raise RowError("prompt_repeated", f"{name} begins with the prompt's last turn.", fix)
    strange = next((message["role"] for message in messages if message["role"] != "assistant"), None)
    if strange:
        found = f"{name} holds a turn with role {strange!r}, expected assistant."
        raise RowError("user_in_completion", found, "Move the turns before the answer into the prompt.")
    if len(messages) > 1:
        found = f"{name} holds {len(messages)} assistant turns, expected one."
        raise RowError("several_turns", found, "Join them, or keep the last.")
    text_of(messages[0]["content"], name)
    return messages[0]["content"]


def _optional_text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    refuse_undecodable(text, name)
    return text


def _needed(values: Mapping[str, Any], row: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        error = missing_column(name, row, f"{ROWS['labelled' if name == 'label' else 'scored']} need it")
        if name == "label" and "score" in row:
            error.fix = "These are scores: name the files as data.scored."
        raise error
    return values[name]


def _known_score(value: Any) -> float:
    found = _score({"score": value}, "score")
    if found is None:
        raise RowError("null", "score is null.", "Fill it in, or remove the row.")
    return found


def _score(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        found = f"{name} is {shown(value)}, expected a finite number."
        raise RowError("wrong_type", found, "Mend the score, or drop the column.")
    return number
