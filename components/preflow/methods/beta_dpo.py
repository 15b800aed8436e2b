"""beta-DPO: a beta per batch, and outliers left out."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="beta_dpo",
    title="DPO with dynamic beta",
    paper="2407.08639",
    idea="A large gap between chosen and rejected asks for a larger beta; pairs whose gap is an outlier of the batch are filtered.",
    equation="L = mean over kept pairs of softplus(-beta_b * h),  beta_b = beta * (1 + alpha * (gap - moving average))",
    use_when="Your pairs are noisy: some labels are wrong, some gaps are extreme.",
    workflow="pairs → reference log-probs → train (coupled) → evaluate",
    data=("pairs",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    losses=("beta_dpo", "dpo"),
    defaults={
        "loss": {"name": Default("beta_dpo", "section 3")},
        "train": {"learning_rate": Default(5e-7, "experiments")},
    },
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "beta_dpo", "beta": 0.1, "alpha": 0.6, "keep_ratio": 0.8},
        "train": {"learning_rate": 5.0e-7, "batch_size": 64, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
