"""GPO: one loss per function; six by name. Five are convex, Savage is not."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="gpo",
    title="Generalized preference optimization",
    paper="2402.05749",
    idea="Every f with a falling slope at 0 gives an offline loss f(beta * h); beta sets how strongly each one regularises.",
    equation="L = f(beta * h),  f logistic, hinge, squared, exponential, truncated_quadratic or savage",
    use_when="You want to compare tails: hinge and truncated_quadratic stop at a margin, squared pulls back, savage forgives wrong labels.",
    workflow="pairs → reference log-probs → train → evaluate",
    data=("pairs",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    losses=("gpo", "dpo", "ipo"),
    defaults={"loss": {"name": Default("gpo", "table 1")}},
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "gpo", "f": "squared", "beta": 0.1},
        "train": {"learning_rate": 1.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
