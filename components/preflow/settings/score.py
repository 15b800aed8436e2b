"""The score section: who scores a completion. A function's file arrives as an input, by content."""

from typing import Literal

from preflow.settings.generate import DType
from preflow.settings.judge import VerifySettings
from preflow.settings.section import Section, setting

TRAINED_REWARD_MODEL, VERIFIABLE = "reward_model", "verifiable"
"""As a scorer: the reward model that the workflow trains; the prompt's own `answer`."""
ScorerKind = Literal["function", "reward_model", "verifiable"]
EFFECTIVE: dict[str, tuple[str, ...]] = {
    "function": ("unit", "batch_size"),
    "reward_model": ("micro_batch_tokens", "dtype", "seed"),
    "verifiable": ("verify",),
}
"""The settings that a kind of scorer reads; any other one has no effect with it."""


class ScoreOptions(Section):
    """What the run file says about scoring, beside the scorer itself."""

    unit: Literal["log_odds", "raw"] = setting(
        "raw",
        "of a function's scores: log_odds where their differences are log-odds of winning, raw for any real number; a "
        "reward model's are log-odds",
        source="RSO's beta lives in log-odds",
    )
    batch_size: int = setting(64, "completions given to the function at once", source="memory", ge=1)
    micro_batch_tokens: int = setting(4096, "tokens per forward pass of a reward model", source="memory", ge=1)
    dtype: DType = setting("float32", "a reward model's weights and activations", source="exact on every device")
    seed: int = setting(
        0,
        "which candidate of a prompt is a pairwise reward model's baseline, by (seed, prompt_id)",
        source="RSO section 3.2: a random one",
        ge=0,
    )
    verify: VerifySettings | None = setting(
        None, "of `scorer: verifiable`: how an answer is compared", source="exact, without"
    )


class ScoreSettings(ScoreOptions):
    """What the step `score_candidates` receives."""

    module: str = setting("preflow.models.scoring.function", "the module that scores", source="the run file's `scorer`")
    function: str = setting(
        "score", "name of the function in the scorer's file", source="the run file's `scorer: FILE:FUNCTION`"
    )


class ScoreSection(ScoreOptions):
    scorer: str = setting(
        ...,
        "FILE.py:FUNCTION or MODULE:FUNCTION (the function takes prompts and completions, returns scores), reward_model "
        "(the one that the section reward_model trains), or verifiable (1 where a completion gives the prompt's `answer`)",
        source="yours",
    )

    @property
    def kind(self) -> ScorerKind:
        return self.scorer if self.scorer in (TRAINED_REWARD_MODEL, VERIFIABLE) else "function"  # type: ignore[return-value]

    @property
    def answer(self) -> Literal["optional", "text", "number"]:
        """What the scorer needs a prompt's `answer` to be."""
        if self.kind != VERIFIABLE:
            return "optional"
        return "number" if self.verify and self.verify.rule == "numeric" else "text"

    def settings(self) -> ScoreSettings:
        """What the step receives: only what this scorer reads, so that nothing else changes a cache key."""
        read = {name: getattr(self, name) for name in EFFECTIVE[self.kind]}
        module = f"preflow.models.scoring.{self.kind}"
        if self.kind == "function":
            return ScoreSettings(**read, module=module, function=self.scorer.rpartition(":")[2])
        if self.kind == "verifiable":
            return ScoreSettings(verify=self.verify or VerifySettings(), module=module)
        return ScoreSettings(**read, unit="log_odds", module=module)


def of_reward_model(dtype: DType) -> ScoreSettings:
    """Scoring by the trained reward model, with its defaults."""
    return ScoreSection(scorer=TRAINED_REWARD_MODEL, dtype=dtype).settings()
