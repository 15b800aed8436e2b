"""DPO: the language model is its own reward model."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="dpo",
    title="Direct preference optimization",
    paper="2305.18290",
    idea="The KL-regularised optimum ties reward to log-ratio, so pairs train the policy directly, without a reward model.",
    equation="L = softplus(-beta * h),  h = log(pi/ref)(chosen) - log(pi/ref)(rejected)",
    use_when="You have pairs, and they resemble what your model writes.",
    workflow="pairs → reference log-probs → train → evaluate",
    data=("pairs",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    losses=(
        "dpo",
        "robust_dpo",
        "ipo",
        "gpo",
        "dpop",
        "tdpo",
        "beta_dpo",
        "sigmoid_norm",
        "hinge_norm",
        "exo_pair",
        "nca_pair",
        "bco_pair",
        "aot_paired",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "rpo",
        "discopop",
        "sigmoid_norm_length",
    ),
    defaults={"loss": {"name": Default("dpo", "equation 7")}},
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "dpo", "beta": 0.1},
        "train": {"learning_rate": 1.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
