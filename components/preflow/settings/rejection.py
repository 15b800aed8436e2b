"""The rejection section: which candidates are kept."""

from typing import Literal

from preflow.settings.section import Section, setting


class RejectionSettings(Section):
    rule: Literal["statistical", "best_of_n"] = setting(
        "statistical", "RSO's Algorithm 1, or the best k", source="RSO section 3.2"
    )
    temperature: float = setting(
        0.5,
        "beta of the target policy pi_sft * exp(score / beta); 0 is best_of_n",
        source="RSO section 4: beta = 0.5 in log-odds",
        ge=0.0,
    )
    num_accepted: int = setting(4, "k, kept per prompt", source="RSO keeps 8 of 64; half of 8 here", ge=1)
    seed: int = setting(0, "draws are keyed by (seed, prompt_id)", source="fixed", ge=0)
