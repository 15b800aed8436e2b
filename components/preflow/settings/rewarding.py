"""Rewards and targets across the sections of a run file: what is missing, and what changes nothing."""

from typing import Any

from preflow.settings.score import EFFECTIVE, TRAINED_REWARD_MODEL, VERIFIABLE

WITHOUT_VALUES = (
    "value_clip",
    "value_learning_rate",
    "gae_lambda",
    "discount",
    "whiten",
)
Found = list[tuple[str, str, str]]


def uses_reward_model(run: Any) -> bool:
    """Whether anything in the workflow asks the reward model that it trains."""
    scorer = run.score.scorer if run.score else (TRAINED_REWARD_MODEL if run.rl else None)
    judge = run.judge.judge if run.judge else None
    return TRAINED_REWARD_MODEL in (scorer, judge)


def reward_problem(run: Any) -> str | None:
    """What does not go together, with the fix; None where all does."""
    if uses_reward_model(run) and run.reward_model is None:
        own = "{}" if run.data.kind == "pairs" else "{data: {files: human_pairs.jsonl}}"
        return f"rewards come from a reward model, but there is no section `reward_model`. Add `reward_model: {own}`, or name another scorer."
    if run.score and run.score.scorer == VERIFIABLE and run.data.kind != "prompts":
        return f"score.scorer is verifiable, but the data are {run.data.kind}, which have no answers. Expected data.prompts with a column `answer`."
    if run.reward_model is None:
        return _rl_problem(run) or _targets_problem(run)
    if not uses_reward_model(run):
        return "`reward_model` has no effect: neither score.scorer nor judge.judge is reward_model. Remove the section, or name it there."
    if run.reward_model.data is None and run.data.kind != "pairs":
        return "reward_model.data: missing: the data are no pairs that it could be trained on. Expected `data: {files: human_pairs.jsonl}`."
    if run.rl and run.reward_model.head == "pairwise":
        return "reward_model.head is pairwise, which compares two texts; reinforcement learning needs the reward of one. Set head: scalar."
    return _rl_problem(run) or _targets_problem(run)


def _targets_problem(run: Any) -> str | None:
    """Whether the texts that the policy keeps likely are there, and of use."""
    wanted = getattr(run.loss, "target", None) == "targets" and run.loss.needs_companion
    if wanted and run.targets is None:
        return "loss.target is targets, but there is no section `targets`. Add `targets: {files: targets.jsonl}`, or set loss.target: chosen."
    if run.targets is not None and not wanted:
        return "`targets` has no effect: the loss does not look at it. Set loss.target: targets and loss.regularization above 0, or remove the section."
    return None


def _rl_problem(run: Any) -> str | None:
    if run.rl and run.rl.algorithm in ("rloo", "grpo") and run.rl.samples_per_prompt < 2:
        return (
            f"rl.samples_per_prompt is {run.rl.samples_per_prompt}: {run.rl.algorithm} compares a prompt's completions "
            "with each other. Expected at least 2."
        )
    return None


def rewards_without_effect(run: Any) -> Found:
    """(section, setting, reason) of settings that change nothing as the others stand."""
    found: Found = []
    if run.score:
        kind = run.score.kind
        others = {name for names in EFFECTIVE.values() for name in names} - set(EFFECTIVE[kind])
        found += [("score", name, f"the scorer is {_called(kind)}") for name in sorted(others)]
    if run.reward_model and run.reward_model.head == "pairwise":
        found.append(("reward_model", "center_coefficient", "a pairwise head has no reward that could drift"))
    if run.loss is not None:
        found += [("loss", name, reason) for name, reason in run.loss.idle().items()]
    if run.rl:
        found += _rl_without_effect(run.rl)
    return found


def _called(kind: str) -> str:
    return {"function": "a function", "reward_model": "a reward model"}.get(kind, kind)


def _rl_without_effect(rl: Any) -> Found:
    found: Found = []
    if rl.algorithm != "ppo":
        found += [("rl", name, f"{rl.algorithm} has no value network") for name in WITHOUT_VALUES]
    if rl.algorithm != "grpo":
        found.append(("rl", "token_mean", f"{rl.algorithm} has one way to average"))
    if rl.kl_target is None:
        found.append(("rl", "kl_gain", "there is no kl_target"))
    return found
