"""TDPO: DPO with a token-level forward KL."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="tdpo",
    title="Token-level direct preference optimization",
    paper="2404.11999",
    idea="The sequential KL to the reference is controlled per token, and for the rejected text above all.",
    equation="L = softplus(-(beta * h - alpha * (beta * D(rejected) - sg[beta * D(chosen)]))),  D = sum_t KL(ref || pi)",
    use_when="You want DPO with the divergence held down, and can keep the reference in memory.",
    workflow="pairs → reference log-probs → train (reference beside the policy) → evaluate",
    data=("pairs",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    losses=("tdpo", "dpo"),
    reference="the start model, its distributions online",
    defaults={
        "loss": {"name": Default("tdpo", "equation 17")},
        "train": {
            "learning_rate": Default(5e-6, "official config"),
            "warmup_steps": Default(150, "official config"),
            "optimizer": Default("rmsprop", "official config"),
        },
    },
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "tdpo", "variant": 2, "alpha": 0.5, "beta": 0.1},
        "train": {"learning_rate": 5.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
