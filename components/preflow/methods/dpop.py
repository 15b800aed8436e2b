"""DPOP: DPO that never loses the chosen completion."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="dpop",
    title="DPO-Positive",
    paper="2402.13228",
    idea="Where the two texts differ little, DPO lowers both; a penalty inside the sigmoid keeps the chosen one above the reference.",
    equation="L = softplus(-beta * (h - lambda * max(0, -log(pi/ref)(chosen))))",
    use_when="Chosen and rejected differ in a few tokens (maths, edits), and the chosen likelihood falls under DPO.",
    workflow="pairs → reference log-probs → train → evaluate",
    data=("pairs",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    losses=("dpop", "dpo"),
    defaults={"loss": {"name": Default("dpop", "equation 3, version 2")}},
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "dpop", "beta": 0.3, "lam": 50.0},
        "train": {"learning_rate": 1.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
