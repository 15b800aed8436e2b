"""What may not be in a record, whatever its shape was."""

from preflow.models.verifiable import has_number
from preflow.settings.data import ImportSettings
from preflow.steps.import_data.messages import EQUAL_FIX
from preflow.steps.import_data.problems import RowError
from preflow.steps.import_data.shapes import Record
from preflow.text.tokenizer import Tokenizer

# Shorter turns are often taken up in a good answer ("Thank you" - "Thank you, too").
REPEATED_PROMPT_CHARACTERS = 12


def check_record(record: Record, settings: ImportSettings) -> None:
    """Raises RowError for the first thing that is wrong."""
    _check_prompt(record, settings)
    last = record.prompt[-1]["content"].strip()
    for name, text in record.completions.items():
        if _is_learned(name, record, settings) and _repeats(text.lstrip(), last):
            shown = "the completion" if name == "target" else name
            found = f"{shown} begins with the prompt's last turn."
            raise RowError("prompt_repeated", found, "Keep only the answer in the completion.")
    if settings.answer != "optional":
        _check_answer(record.answer, settings)
    sides = record.completions
    if "chosen" in sides and sides["chosen"].strip() == sides["rejected"].strip():
        raise RowError("chosen_equals_rejected", "chosen and rejected are the same text.", EQUAL_FIX)
    right = {sides[name].strip() for name in ("target", "paraphrased") if name in sides}
    if wrong := next((name for name in sides if name.startswith("perturbed") and sides[name].strip() in right), None):
        found = f"{wrong} is the right answer, too; expected a wrong one."
        raise RowError("wrong_answer_is_right", found, "Remove it from the wrong answers.")


def _is_learned(name: str, record: Record, settings: ImportSettings) -> bool:
    """An echo of the prompt may well be what was rejected; in what is to be learned it is an export's mistake."""
    if settings.kind in ("scored", "negatives") or record.label is False:
        return False
    return name in ("chosen", "target")


def _repeats(text: str, turn: str) -> bool:
    """Whether a text begins with a turn, and not by chance: the turn is long, or a line of its own in the text."""
    if not turn or not text.startswith(turn):
        return False
    long = len(turn) >= REPEATED_PROMPT_CHARACTERS and " " in turn
    return long or text[len(turn) :].startswith("\n")


def _check_answer(answer: str | None, settings: ImportSettings) -> None:
    """What the scorer will compare with: found before anything is sampled."""
    if not (answer or "").strip():
        found = "no answer, expected the right one, which `scorer: verifiable` compares with."
        raise RowError("no_answer", found, "Add a column `answer`, or take another scorer.")
    if settings.answer == "number" and not has_number(answer or ""):
        found = f"the answer {answer!r:.80} holds no number, which verify.rule numeric compares."
        raise RowError("no_answer", found, "Mend the answer, or set verify.rule to exact.")


def _check_prompt(record: Record, settings: ImportSettings) -> None:
    if record.prompt[-1]["role"] == "assistant" and not settings.allow_assistant_prefix:
        raise RowError(
            "prompt_ends_with_assistant",
            "the prompt ends with an assistant turn, expected a user's.",
            "Move that turn into the completion, or set data.allow_assistant_prefix: true to have it continued.",
        )
    for message in record.prompt:
        if not message["content"].strip() and message["role"] != "system":
            found = f"the prompt has an empty turn of role {message['role']}."
            raise RowError("empty_prompt", found, "Fill it in, or remove the row.")


def check_lengths(record: Record, prompt_tokens: int, completion_tokens: dict[str, int], tokenizer: Tokenizer) -> None:
    """Raises RowError for a completion of which tokenization or truncation would leave nothing."""
    for name, tokens in completion_tokens.items():
        if tokens <= 1:  # the turn's end
            found = f"{name} has no tokens: the tokenizer drops all of {record.completions[name][:20]!r}."
            raise RowError("empty_completion", found, "Remove the row.")
    room = tokenizer.room_for_completion(min(prompt_tokens, tokenizer.max_prompt_tokens))
    if completion_tokens and room < 1:
        found = f"the prompt's {prompt_tokens} tokens fill the model's {tokenizer.max_positions} positions"
        raise RowError(
            "completion_truncated_away",
            f"{found}; nothing of the completion would remain.",
            f"Set text.max_prompt_tokens below {tokenizer.max_positions}, or shorten the prompt.",
        )
