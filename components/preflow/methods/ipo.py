"""IPO: a bounded objective, so that certain preferences do not push the policy arbitrarily far."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="ipo",
    title="Identity preference optimization",
    paper="2310.12036",
    idea="DPO needs unbounded margins where a preference is certain; IPO regresses the margin on a finite target instead.",
    equation="L = (h - 1 / (2 tau))^2, h = log(pi/ref)(chosen) - log(pi/ref)(rejected), each per token (default) or summed",
    use_when="Your labels are nearly deterministic, and DPO drifts far from the reference.",
    workflow="pairs → reference log-probs → train → evaluate",
    data=("pairs",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    losses=("ipo", "dpo", "gpo"),
    defaults={"loss": {"name": Default("ipo", "equation 17")}},
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "ipo", "tau": 0.1, "length_normalization": "mean"},
        "train": {"learning_rate": 1.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
