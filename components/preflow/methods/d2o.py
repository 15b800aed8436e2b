"""D2O: away from what people called bad, held by many samples of the model itself."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="d2o",
    title="Distributional dispreference optimization",
    paper="2403.03419",
    idea="Only unwanted completions are human; what is preferred to them is the mean over K samples of the model, steered by an instruction while they are drawn.",
    equation="L = softplus(-z),  z = (beta / K) * sum_k log(pi/ref-)(sample_k) - alpha * log(pi/ref+)(unwanted)",
    use_when="You know what the model must not write, and have nothing better to show it.",
    workflow="unwanted completions (or pairs → convert) → rounds of (sample K → reference log-probs → train) → evaluate",
    data=("negatives", "pairs"),
    sections=("data", "generate", "reference", "loss", "train", "evaluate"),
    with_data={"pairs": ("convert",)},
    optional=("rounds",),
    losses=("d2o",),
    reference="two frozen models, both the start model if none is named",
    on_policy=True,
    defaults={
        "loss": {"name": Default("d2o", "equation 3")},
        "generate": {
            "candidates_per_prompt": Default(11, "the paper's K"),
            "temperature": Default(0.8, "an unofficial port; the paper's own is not verified"),
            "instruction": Default(
                "Answer helpfully and harmlessly. Decline, politely, what would do harm.",
                "ours; the paper steers with moral instructions",
            ),
        },
        "rounds": {
            "prompts": Default("all", "every row needs its samples"),
            "count": Default(2, "offline, then once online"),
        },
        "train": {
            "learning_rate": Default(5e-6, "ours; the paper's is not verified"),
            "batch_size": Default(16, "ours: each example has K + 1 sequences"),
        },
    },
    starter={
        "data": {"negatives": "negatives.jsonl", "heldout_fraction": 0.1},
        "generate": {"candidates_per_prompt": 11, "temperature": 0.8, "top_k": 40, "max_new_tokens": 64},
        "loss": {"name": "d2o", "alpha": 0.1, "beta": 0.1},
        "train": {"learning_rate": 5.0e-6, "batch_size": 16, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
