"""sDPO: pairs in stages, each stage held against the one before."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="sdpo",
    title="Stepwise direct preference optimization",
    paper="2403.19270",
    idea="Data are used part by part, easy ones first; each stage's model is the next stage's start and reference, a bound that tightens. A control says what staging adds.",
    equation="stage t: L = softplus(-beta * h_t),  h_t as in DPO, with the model of stage t - 1 as reference;  control: beta / T on all pairs",
    use_when="Your pairs come from sources of different difficulty; look at the control before you believe in it.",
    workflow="pairs → log-probs → stages of (split → reference log-probs → train) → evaluate; control: train on all → evaluate",
    data=("pairs",),
    sections=("data", "reference", "stages", "loss", "train", "evaluate"),
    optional=("sft",),
    losses=("dpo", "robust_dpo", "sigmoid_norm", "hinge_norm", "dpop"),
    reference="the previous stage's model",
    defaults={
        "loss": {"name": Default("dpo", "section 3")},
        "train": {
            "learning_rate": Default(5e-7, "section 4 follows Zephyr"),
            "batch_size": Default(32, "section 4 follows Zephyr"),
            "schedule": Default("linear", "section 4 follows Zephyr"),
        },
    },
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "stages": {"count": 2, "by": "difficulty", "control": True},
        "loss": {"name": "dpo", "beta": 0.1},
        "train": {"learning_rate": 5.0e-7, "batch_size": 32, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
