"""How candidates are sampled, compared and selected, round after round: settings that contradict each other (found before
anything is staged, with both sides named), and settings that change nothing."""

from collections.abc import Iterator
from typing import Any

from preflow.errors import SettingsError
from preflow.settings.other_data import completions_contradictions
from preflow.settings.pairs import MAKES_COMPLETIONS, PairsSettings
from preflow.settings.rounds import RoundsSettings

BY_JUDGE = ("eval/win_rate", "eval/judge_score")
Found = list[tuple[str, str, str]]


def refuse_contradictions(run: Any, where: str) -> None:
    """Raises SettingsError for the first contradiction of a run file."""
    found = (*_sampling(run), *_selection(run), *_rounds(run), *_evaluation(run), *completions_contradictions(run))
    for each in found:
        raise SettingsError(f"{where}: {each}")


def _sampling(run: Any) -> Iterator[str]:
    if run.generate is None:
        return
    law = {"temperature": (run.generate.temperature, 1.0), "top_k": (run.generate.top_k, 0)}
    for name, (found, expected) in law.items():
        if run.loss is not None and run.loss.own_law and found != expected:
            yield (
                f"generate.{name} is {found}, but loss {run.loss.name} weighs samples of the policy itself, which are drawn "
                f"with {expected:g}. Set generate.{name} to {expected:g}."
            )
    if run.loss is not None and run.loss.own_law:
        yield from _own_law(run)
    if run.rejection and run.rejection.num_accepted > run.generate.candidates_per_prompt:
        yield (
            f"rejection.num_accepted is {run.rejection.num_accepted}, but generate.candidates_per_prompt is "
            f"{run.generate.candidates_per_prompt}: nothing would be rejected. Sample more, or accept fewer."
        )
    if run.rejection and run.pairs and run.rejection.num_accepted < 2:
        yield "rejection.num_accepted is 1, expected at least 2: a pair is made of two accepted candidates. Raise it."
    if (run.judge or run.score) and run.generate.candidates_per_prompt < 2 and not run.teacher:
        yield "generate.candidates_per_prompt is 1, expected at least 2: a lone candidate has nobody to win against. Raise it."


def _own_law(run: Any) -> Iterator[str]:
    """What makes the text that is trained on another one than the text that was sampled."""
    if run.generate.instruction is not None:
        yield (
            f"generate.instruction is set, but loss {run.loss.name} weighs samples by the policy's own law, which knows no "
            "instruction. Remove it."
        )
    longest, kept = run.generate.max_new_tokens, run.text.max_completion_tokens
    if longest > kept:
        yield (
            f"generate.max_new_tokens is {longest}, but text.max_completion_tokens is {kept}: what is sampled would be cut "
            f"before loss {run.loss.name} weighs it. Set generate.max_new_tokens to at most {kept}, or raise the other."
        )


def _selection(run: Any) -> Iterator[str]:
    if run.pairs is None:
        return
    if run.loss is not None and run.loss.preferences and run.pairs.labels == "hard":
        yield (
            f"pairs.labels is hard, so that every chosen text wins for certain, but loss {run.loss.name} is regressed on "
            "P(chosen beats rejected). Set pairs.labels to soft."
        )
    rule, completions = run.pairs.rule, run.pairs.rule in MAKES_COMPLETIONS
    if run.loss is not None and completions != ("completion" in run.loss.roles.values()):
        kinds = ("completions", "pairs") if completions else ("pairs", "completions")
        yield f"pairs.rule {rule} makes {kinds[0]}, but loss {run.loss.name} takes {kinds[1]}. Change one of the two."
    if run.judge and run.judge.schedule == "tournament" and rule != "tournament":
        yield (
            f"pairs.rule is {rule}, but judge.schedule is tournament, which judges only what a tournament needs. Set "
            "pairs.rule to tournament, or judge.schedule to all."
        )


def _rounds(run: Any) -> Iterator[str]:
    if run.rounds is None:
        return
    if run.rounds.keep == "best" and run.rounds.count > 1 and (lacking := _lacking(run, run.rounds.metric)):
        yield (
            f"rounds.keep is best by {run.rounds.metric}, which needs {lacking}. Add it, choose another rounds.metric, or "
            "set rounds.keep to last."
        )
    if run.rounds.history_share and run.pairs and run.pairs.rule in MAKES_COMPLETIONS:
        yield (
            f"rounds.history_share is {run.rounds.history_share}, but pairs.rule {run.pairs.rule} trains on the newest "
            "policy's own samples alone. Set it to 0."
        )


def _lacking(run: Any, metric: str) -> str | None:
    """What the evaluation would need to measure a number."""
    if metric not in BY_JUDGE:
        return None if holds_out_pairs(run) else "held-out pairs (evaluate.pairs)"
    if run.evaluate.judge is None:
        return "evaluate.judge"
    return "a sample (evaluate.samples_per_prompt is 0)" if run.evaluate.samples_per_prompt == 0 else None


def holds_out_pairs(run: Any) -> bool:
    """Whether what is measured on are pairs."""
    return bool(run.evaluate.pairs) or (run.data.kind == "pairs" and not run.evaluate.prompts)


def _evaluation(run: Any) -> Iterator[str]:
    if run.evaluate.baseline == "chosen" and not holds_out_pairs(run):
        yield (
            "evaluate.baseline is chosen, but the held-out rows are no pairs, which have chosen texts. Name evaluate.pairs, or "
            "set evaluate.baseline to reference."
        )


def rounds_without_effect(run: Any) -> Found:
    """(section, setting, reason) of settings that change nothing as the others stand."""
    found: Found = []
    if run.pairs:
        unread = PairsSettings.model_fields.keys() - run.pairs.effective - {"rule"}
        found += [("pairs", key, f"rule {run.pairs.rule} does not read it") for key in sorted(unread)]
        if run.loss is not None and run.loss.symmetric:
            found.append(("pairs", "labels", f"loss {run.loss.name} is the same with both sides exchanged"))
        if run.judge is None or run.judge.schedule != "all":
            found.append(("pairs", "rank_by", "candidates are compared by scores; it is for win rates over all pairs"))
    if run.judge and run.judge.schedule == "all" and run.judge.both_orders:
        found.append(("judge", "seed", "all pairs are asked in both orders"))
    return found + (_rounds_without_effect(run) if run.rounds else [])


def _rounds_without_effect(run: Any) -> Found:
    found: Found = []
    if run.rounds.count == 1:
        found += [("rounds", key, "there is one round") for key in RoundsSettings.model_fields if key != "count"]
    if run.loss is not None and not run.loss.needs_reference:
        found.append(("rounds", "reference", f"loss {run.loss.name} takes no reference"))
    if run.pairs is None:
        found += [("rounds", key, "no pairs are built") for key in ("history_share", "history_decay")]
    if run.rounds.history_share == 0:
        found.append(("rounds", "history_decay", "history_share is 0"))
    if run.rounds.keep == "last":
        found.append(("rounds", "metric", "keep is last"))
    return found
