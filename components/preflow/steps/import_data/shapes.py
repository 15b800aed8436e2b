"""From the shapes people have to one record: messages as the prompt, texts as the completions.

Known shapes: prompt with chosen and rejected (texts or messages); chosen and rejected as whole conversations with a
common beginning (implicit prompt); prompt with completion; a conversation in `messages`; prompts alone.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preflow.settings.data import ImportSettings
from preflow.steps.import_data.readers import SPLIT_KEY, RowError

Messages = list[dict[str, str]]
ROLES = ("system", "user", "assistant")
ALIASES = {
    "prompt": ("prompt", "question", "instruction", "query"),
    "chosen": ("chosen", "preferred"),
    "rejected": ("rejected", "dispreferred"),
    "completion": ("completion", "response", "output"),
    "messages": ("messages", "conversations", "conversation"),
    "answer": ("answer",),
    "source": ("source",),
    "chosen_score": ("chosen_score", "score_chosen"),
    "rejected_score": ("rejected_score", "score_rejected"),
}
HELDOUT_NAMES = {"heldout", "held-out", "held_out", "test", "validation", "valid", "val", "eval", "dev"}
TRAIN_NAMES = {"train", "training"}


@dataclass(frozen=True)
class Record:
    """A row, read. `completions` maps chosen and rejected, or target, to their texts; it is empty for prompts."""

    prompt: Messages
    completions: dict[str, str]
    source: str | None = None
    answer: str | None = None
    split: str | None = None
    scores: tuple[float | None, float | None] = (None, None)


def to_record(row: Mapping[str, Any], settings: ImportSettings) -> Record:
    """Raises RowError naming what was found, what was expected, and the fix."""
    values = _named(row, settings)
    shape = {"pairs": _pair, "sft": _demonstration, "prompts": _prompt}[settings.kind]
    prompt, completions = shape(values, row)
    return Record(
        prompt,
        completions,
        source=_optional_text(values.get("source")),
        answer=_optional_text(values.get("answer")) if settings.kind == "prompts" else None,
        split=_split(row, settings),
        scores=(_score(values, "chosen_score"), _score(values, "rejected_score")),
    )


def _named(row: Mapping[str, Any], settings: ImportSettings) -> dict[str, Any]:
    """The row's values under our names; `data.columns` goes before the usual names."""
    values = {}
    for name, aliases in ALIASES.items():
        if name in settings.columns:
            if settings.columns[name] not in row:
                raise _missing(settings.columns[name], row, f"data.columns maps {name} to it")
            values[name] = row[settings.columns[name]]
        else:
            found = next((alias for alias in aliases if alias in row), None)
            if found is not None:
                values[name] = row[found]
    return values


def _missing(name: str, row: Mapping[str, Any], why: str) -> RowError:
    columns = [column for column in row if column != SPLIT_KEY]
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    guess = f"Rename {close[0]!r}, or set data.columns: {{{name}: {close[0]}}}." if close else f"Add it, or set data.columns: {{{name}: YOUR_COLUMN}}."
    return RowError("missing_column", f"no column {name!r} ({why}); columns here: {', '.join(columns) or 'none'}.", guess)


def _pair(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Messages, dict[str, str]]:
    for side in ("chosen", "rejected"):
        if side not in values:
            raise _missing(side, row, "pairs need it")
    if "prompt" not in values:
        return _implicit_prompt(values, row)
    prompt = messages_of(values["prompt"], "prompt")
    return prompt, {side: _completion(values[side], side, prompt) for side in ("chosen", "rejected")}


def _implicit_prompt(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Messages, dict[str, str]]:
    sides = {side: values[side] for side in ("chosen", "rejected")}
    if not all(isinstance(value, list) for value in sides.values()):
        raise _missing("prompt", row, "chosen and rejected are no conversations that could hold it")
    chosen, rejected = (messages_of(sides[side], side) for side in ("chosen", "rejected"))
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    shared = min(shared, len(chosen) - 1, len(rejected) - 1)
    if shared == 0:
        raise RowError("no_common_prompt", "chosen and rejected share no first turn.", "Give a prompt column, or whole conversations that begin alike.")
    prompt = chosen[:shared]
    return prompt, {"chosen": _completion(chosen[shared:], "chosen", prompt), "rejected": _completion(rejected[shared:], "rejected", prompt)}


def _demonstration(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Messages, dict[str, str]]:
    if "prompt" in values and "completion" in values:
        prompt = messages_of(values["prompt"], "prompt")
        return prompt, {"target": _completion(values["completion"], "completion", prompt)}
    if "messages" not in values:
        raise _missing("completion" if "prompt" in values else "messages", row, "demonstrations need prompt and completion, or messages")
    messages = messages_of(values["messages"], "messages")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise RowError("no_completion", f"messages end with role {messages[-1]['role']!r}, expected an assistant turn after a prompt.", "Add the answer, or import as prompts.")
    return messages[:-1], {"target": _completion(messages[-1:], "messages", messages[:-1])}


def _prompt(values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Messages, dict[str, str]]:
    name = "prompt" if "prompt" in values else "messages"
    if name not in values:
        raise _missing("prompt", row, "prompts need it")
    return messages_of(values[name], name), {}


def messages_of(value: Any, name: str) -> Messages:
    """A text as one user turn, or messages, checked."""
    if value is None:
        raise RowError("null", f"{name} is null.", "Fill it in, or remove the row.")
    if isinstance(value, str):
        _refuse_blank(value, name)
        _refuse_undecodable(value, name)
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise RowError("wrong_type", f"{name} is {_shown(value)}, expected a text or a list of messages.", 'Use "..." or [{"role": "user", "content": "..."}].')
    if not value:
        raise RowError(f"empty_{_side(name)}", f"{name} has no messages.", "Fill it in, or remove the row.")
    return [_message(each, name) for each in value]


def _message(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise RowError("wrong_type", f"{name} holds {_shown(value)}, expected a message.", 'Use {"role": "user", "content": "..."}.')
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    role = {"human": "user", "gpt": "assistant"}.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise RowError("unknown_role", f"{name} has role {role!r}, expected {', '.join(ROLES)}.", "Rename the role; tool calls are out of scope.")
    if content is None:
        raise RowError("null", f"{name} has a {role} turn without content.", "Fill it in, or remove the row.")
    if not isinstance(content, str):
        raise RowError("wrong_type", f"{name} has {_shown(content)} as content, expected a text.", "Images and other parts are out of scope: use texts.")
    _refuse_undecodable(content, name)
    return {"role": role, "content": content}


def _completion(value: Any, name: str, prompt: Messages) -> str:
    if isinstance(value, str):
        _refuse_blank(value, name)
        _refuse_undecodable(value, name)
        return value
    messages = messages_of(value, name)
    if messages[0] in prompt[-1:]:
        raise RowError("prompt_repeated", f"{name} begins with the prompt's last turn.", "Remove that turn, or the prompt column (the common beginning is then the prompt).")
    strange = next((message["role"] for message in messages if message["role"] != "assistant"), None)
    if strange:
        raise RowError("user_in_completion", f"{name} holds a turn with role {strange!r}, expected assistant.", "Move the turns before the answer into the prompt.")
    if len(messages) > 1:
        raise RowError("several_turns", f"{name} holds {len(messages)} assistant turns, expected one.", "Join them, or keep the last.")
    _refuse_blank(messages[0]["content"], name)
    return messages[0]["content"]


def _refuse_blank(text: str, name: str) -> None:
    if not text.strip():
        raise RowError(f"empty_{_side(name)}", f"{name} is empty.", "Fill it in, or remove the row.")


def _refuse_undecodable(text: str, name: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError("undecodable_bytes", f"{name} holds U+{ord(text[error.start]):04X}, half of a character.", "Mend the text; it was cut inside a character.") from None


def _side(name: str) -> str:
    return "prompt" if name in ("prompt", "messages") else "completion"


def _optional_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _score(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RowError("wrong_type", f"{name} is {_shown(value)}, expected a finite number.", "Mend the score, or drop the column.")
    return number


def _split(row: Mapping[str, Any], settings: ImportSettings) -> str | None:
    if settings.split_column is not None and settings.split_column not in row:
        raise _missing(settings.split_column, row, "data.split_column names it")
    name = row.get(settings.split_column or SPLIT_KEY)
    if name is None and settings.split_column is None:
        return None
    plain = str(name).strip().lower()
    if plain in TRAIN_NAMES:
        return "train"
    if any(plain == held or plain.startswith(f"{held}_") for held in HELDOUT_NAMES):
        return "heldout"
    if settings.split_column is None:
        return "train" if plain.startswith("train") else None
    raise RowError("unknown_split", f"split is {name!r}, expected train or heldout (test, validation, eval).", "Rename the value.")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
