"""Stages against their control: one training on all data that moves as far. Did staging help beyond that?"""

from collections.abc import Mapping

VERDICTS = ("eval/win_rate", "eval/reward_accuracy")
COMPARED = {
    "eval/win_rate": "win rate",
    "eval/reward_accuracy": "reward accuracy",
    "eval/reward_margin": "reward margin",
    "eval/kl_to_reference": "KL to the start model",
    "eval/length_ratio": "length ratio",
    "eval/distinct_2": "distinct bigrams",
}
Numbers = Mapping[str, float]


def verdict(staged: Numbers, control: Numbers) -> str:
    """A sentence: intervals that do not overlap decide, by win rate where there is one."""
    name = next((name for name in VERDICTS if name in staged and name in control), None)
    if name is None:
        return "Nothing was measured by which stages and control could be compared."
    low, high = (staged.get(f"{name}_{side}", staged[name]) for side in ("low", "high"))
    other_low, other_high = (control.get(f"{name}_{side}", control[name]) for side in ("low", "high"))
    shown = f"{COMPARED[name]} {staged[name]:.3f} against the control's {control[name]:.3f}"
    if low > other_high:
        return f"Staging helped beyond the control: {shown}, and the intervals do not overlap."
    if high < other_low:
        return f"Staging did worse than the control: {shown}, and the intervals do not overlap."
    return f"Staging shows no effect beyond the control: {shown}, which these held-out rows cannot tell apart."


def table(staged: Numbers, control: Numbers) -> list[tuple[str, str, str]]:
    """(what, stages, control) for every number that both have."""
    both = [name for name in COMPARED if name in staged and name in control]
    return [(COMPARED[name], _with_interval(staged, name), _with_interval(control, name)) for name in both]


def _with_interval(numbers: Numbers, name: str) -> str:
    if f"{name}_low" in numbers:
        return f"{numbers[name]:.3f} ({numbers[f'{name}_low']:.3f} to {numbers[f'{name}_high']:.3f})"
    error = f" ± {numbers[f'{name}_se']:.3f}" if f"{name}_se" in numbers else ""
    return f"{numbers[name]:.3f}{error}"
