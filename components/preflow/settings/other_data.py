"""Run files that start from completions rather than pairs: settings that change nothing, and rows that are missing."""

from collections.abc import Iterator
from typing import Any

Found = list[tuple[str, str, str]]


def completions_without_effect(run: Any) -> Found:
    """(section, setting, reason) of settings that change nothing as the others stand."""
    found: Found = []
    if run.convert and run.data.kind != "scored":
        found.append(("convert", "threshold", f"the rows are {run.data.kind}; scores are cut"))
    if run.loss is None or not run.loss.values:
        named = run.loss.name if run.loss else "none"
        found.append(("train", "value_learning_rate", f"loss {named} takes no value network"))
    if run.loss is not None and not run.loss.samples:
        reason = f"loss {run.loss.name} takes no samples of the policy"
        found += [("reference", side, reason) for side in ("helpful", "harmful")]
    if run.loss is not None and run.loss.samples and run.rounds:
        found.append(("rounds", "prompts", "every row needs its samples in every round"))
        found.append(("rounds", "reference", "reference.helpful and reference.harmful say what is compared with"))
    if run.loss is not None and not run.loss.needs_reference and run.reference:
        reason = f"loss {run.loss.name} takes no reference log-probs"
        found += [("reference", key, reason) for key in ("micro_batch_tokens", "dtype")]
    return found


def completions_contradictions(run: Any) -> Iterator[str]:
    """What a run file names of two things that go together, or needs and does not name."""
    needs = run.loss is not None and run.loss.needs_companion and hasattr(run.loss, "retain")
    oracle = run.unlearning.retain_model if run.unlearning else None
    if run.retain is None and needs:
        yield (
            f"loss.retain is {run.loss.retain}, which needs rows to retain. Add retain: {{files: retain.jsonl}}, or set "
            "loss.retain: none."
        )
    if run.retain is None and oracle:
        yield "unlearning.retain_model is trained on rows to retain. Add retain: {files: retain.jsonl}."
    if run.retain is not None and not needs and not oracle:
        yield "'retain' has no effect: loss.retain is none, and no retain model is trained. Remove the section."
