"""Values that hold messages or texts: as they are, encoded as JSON, or as a transcript."""

import json
import re
from typing import Any

from preflow.steps.import_data.problems import RowError

Messages = list[dict[str, str]]
ROLES = ("system", "user", "assistant")
OTHER_ROLES = {"human": "user", "gpt": "assistant"}
ENCODED = re.compile(r"""\s*\[\s*\{\s*['"](role|from|content)['"]\s*:""")
EQUAL_FIX = "Remove the row: it teaches nothing."
TRANSCRIPT = re.compile(r"\n\n(Human|Assistant):")


def text_of(value: Any, name: str) -> str | None:
    """The value if it is a text; None for anything else, and for messages encoded as one (cells of a CSV file)."""
    if not isinstance(value, str) or ENCODED.match(value):
        return None
    if not value.strip():
        raise RowError(f"empty_{_side(name)}", f"{name} is empty.", "Fill it in, or remove the row.")
    refuse_undecodable(value, name)
    return value


def messages_of(value: Any, name: str) -> Messages:
    """A text as one user turn, or messages, checked."""
    if value is None:
        raise RowError("null", f"{name} is null.", "Fill it in, or remove the row.")
    if isinstance(text := text_of(value, name), str):
        return [{"role": "user", "content": text}]
    if isinstance(value, str):
        value = _decoded(value, name)
    if not isinstance(value, list):
        found = f"{name} is {shown(value)}, expected a text or a list of messages."
        raise RowError("wrong_type", found, 'Use "..." or [{"role": "user", "content": "..."}].')
    if not value:
        raise RowError(f"empty_{_side(name)}", f"{name} has no messages.", "Fill it in, or remove the row.")
    return [_message(each, name) for each in value]


def _decoded(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        found = f"{name} looks like messages, but is not valid JSON ({error})."
        raise RowError("broken_json", found, "Write messages with json.dumps, not as Python shows them.") from None


def _message(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        found = f"{name} holds {shown(value)}, expected a message."
        raise RowError("wrong_type", found, 'Use {"role": "user", "content": "..."}.')
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    role = OTHER_ROLES.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        found = f"{name} has role {role!r}, expected {', '.join(ROLES)}."
        raise RowError("unknown_role", found, "Rename the role; tool calls are out of scope.")
    if value.get("tool_calls"):
        raise RowError("tool_calls", f"{name} has a turn that calls tools.", "Remove the row: that is out of scope.")
    if content is None:
        raise RowError("null", f"{name} has a turn of role {role} without content.", "Fill it in, or remove the row.")
    if not isinstance(content, str):
        found = f"{name} has {shown(content)} as content, expected a text."
        raise RowError("wrong_type", found, "Images and other parts are out of scope: use texts.")
    refuse_undecodable(content, name)
    return {"role": role, "content": content}


def common_beginning(chosen: Any, rejected: Any, texts: bool) -> tuple[Messages | None, Any, Any]:
    """(prompt, chosen, rejected) of a pair whose two sides begin with the prompt; None if only answers are there.

    `texts`: two plain texts may begin with the prompt, too.
    """
    first, second = conversation(chosen, "chosen"), conversation(rejected, "rejected")
    if isinstance(first, str) and isinstance(second, str):
        return _common_text(first, second) if texts else (None, first, second)
    if isinstance(first, str) or isinstance(second, str):
        fix = "Write both sides as messages, or add a prompt column."
        raise RowError("wrong_type", "chosen and rejected are a text and a conversation, expected two alike.", fix)
    if not any(message["role"] == "user" for message in [*first, *second]):
        return None, first, second
    shared = 0
    longest = min(len(first), len(second)) - 1
    while shared < longest and first[shared] == second[shared]:
        shared += 1
    if shared == 0:
        _refuse_unanswered(first, second)
        raise _nothing_common()
    return first[:shared], first[shared:], second[shared:]


def _refuse_unanswered(first: Messages, second: Messages) -> None:
    for name, turns in (("chosen", first), ("rejected", second)):
        if first[0] == second[0] and len(turns) == 1:
            raise RowError("empty_completion", f"{name} is the prompt alone, without an answer.", "Add the answer.")


def conversation(value: Any, name: str) -> Messages | str:
    """Messages; a transcript as messages; or a text that is neither."""
    text = text_of(value, name)
    if text is None:
        return messages_of(value, name)
    if not TRANSCRIPT.match(text):
        return text
    turns = TRANSCRIPT.split(text)[1:]
    roles = ["user" if speaker == "Human" else "assistant" for speaker in turns[::2]]
    return [{"role": role, "content": said.strip()} for role, said in zip(roles, turns[1::2], strict=True)]


def _common_text(chosen: str, rejected: str) -> tuple[Messages, str, str]:
    """Cut where the texts part, at the last space before; what follows keeps the space, so that both join again."""
    if chosen == rejected:
        raise RowError("chosen_equals_rejected", "chosen and rejected are the same text.", EQUAL_FIX)
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and not chosen[shared - 1].isspace():
        shared -= 1
    shared = len(chosen[:shared].rstrip())
    if not shared:
        raise _nothing_common()
    return [{"role": "user", "content": chosen[:shared]}], chosen[shared:], rejected[shared:]


def _nothing_common() -> RowError:
    found = "there is no prompt, and chosen and rejected share no beginning that could be it."
    return RowError("no_common_prompt", found, "Add a prompt column (or map it: data.columns), or whole conversations.")


def refuse_undecodable(text: str, name: str) -> None:
    """Half of a surrogate pair has no UTF-8, so it could not be stored."""
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"{name} holds U+{ord(text[error.start]):04X}, half of a character."
        raise RowError("undecodable_bytes", found, "Mend the text; it was cut inside a character.") from None


def _side(name: str) -> str:
    return "prompt" if name in ("prompt", "messages") else "completion"


def shown(value: Any) -> str:
    """A value in a message: its type and its beginning."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
