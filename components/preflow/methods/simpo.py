"""SimPO: mean log-probs and a margin, without a reference."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="simpo",
    title="Simple preference optimization",
    paper="2405.14734",
    idea="The reward is what generation ranks by: the mean log-prob of a token, ahead by a margin.",
    equation="L = softplus(-(beta * (mean log pi(chosen) - mean log pi(rejected)) - gamma))",
    use_when="You have on-policy pairs, and length bias hurts you.",
    workflow="pairs → train → evaluate",
    data=("pairs",),
    sections=("data", "loss", "train", "evaluate"),
    losses=("simpo", "cpo", "orpo"),
    reference="none",
    defaults={"loss": {"name": Default("simpo", "equation 6")}, "train": {"batch_size": Default(128, "section 4")}},
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "simpo", "beta": 2.0, "gamma": 1.0},
        "train": {"learning_rate": 1.0e-6, "batch_size": 128, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
