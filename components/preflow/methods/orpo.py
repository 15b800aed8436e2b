"""ORPO: fine-tuning and preference in one loss."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="orpo",
    title="Odds ratio preference optimization",
    paper="2403.07691",
    idea="The odds ratio of chosen over rejected beside the likelihood of the chosen text, from a base model, in one stage.",
    equation="L = NLL(chosen) + lam * softplus(-log(odds(chosen) / odds(rejected)))",
    use_when="You start from a base model and want no separate fine-tuning.",
    workflow="pairs → train → evaluate",
    data=("pairs",),
    sections=("data", "loss", "train", "evaluate"),
    losses=("orpo", "cpo", "simpo"),
    reference="none",
    defaults={
        "loss": {"name": Default("orpo", "equation 6")},
        "train": {"learning_rate": Default(5e-6, "experiments"), "batch_size": Default(8, "experiments")},
    },
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "orpo", "lam": 0.1},
        "train": {"learning_rate": 5.0e-6, "batch_size": 8, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
