"""CPO: preference without a reference, held by likelihood."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="cpo",
    title="Contrastive preference optimization",
    paper="2401.08417",
    idea="DPO with a uniform reference, and the chosen text's likelihood as the anchor.",
    equation="L = softplus(-beta * (log pi(chosen) - log pi(rejected))) + alpha * NLL(chosen)",
    use_when="The chosen texts are good enough to imitate, and a reference costs too much.",
    workflow="pairs → train → evaluate",
    data=("pairs",),
    sections=("data", "loss", "train", "evaluate"),
    losses=("cpo", "simpo", "orpo", "hinge", "slic"),
    reference="none",
    defaults={"loss": {"name": Default("cpo", "equation 4")}, "train": {"batch_size": Default(128, "section 4")}},
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "cpo", "beta": 0.1, "alpha": 1.0},
        "train": {"learning_rate": 1.0e-6, "batch_size": 128, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
