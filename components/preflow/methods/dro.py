"""DRO-V: single scored completions, and a network that learns what a prompt is worth."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="dro",
    title="Direct reward optimization (DRO-V)",
    paper="2405.19107",
    idea="At the optimum score = value of the prompt + tau * log-ratio; both sides are fitted by squared error, the value by a network of its own.",
    equation="L = (r - sg[V] - tau * h)^2 / (2 tau) + (r - V - tau * sg[h])^2 / 2,  h = log(pi/ref)(completion), r standardised",
    use_when="You have one score per completion, of anybody's texts, and no pairs.",
    workflow="scored completions → reference log-probs → train (policy and value network) → evaluate",
    data=("scored",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    optional=("sft",),
    losses=("dro",),
    defaults={
        "loss": {"name": Default("dro", "equation 4, rescaled as in section 3.3")},
        "train": {
            "learning_rate": Default(1e-4, "section 4, for T5 with Adafactor"),
            "batch_size": Default(32, "section 4"),
            "warmup_steps": Default(150, "section 4"),
        },
    },
    starter={
        "data": {"scored": "scored.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "dro", "tau": 1.0},
        "train": {"learning_rate": 1.0e-5, "value_learning_rate": 1.0e-5, "batch_size": 32, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
