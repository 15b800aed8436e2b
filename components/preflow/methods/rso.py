"""RSO: pairs drawn from the policy that the reward would want, by statistical rejection sampling."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="rso",
    title="Statistical rejection sampling optimization",
    paper="2309.06657",
    idea="Samples of the SFT model are thinned until they follow the optimal policy pi_sft * exp(score / temperature); pairs come from those.",
    equation="L = softplus(-beta * h) (sigmoid-norm) or max(0, 1 - beta * h) (hinge-norm), h as in DPO",
    use_when="You have prompts and a scorer, or human pairs to train one on, rather than pairs of your model's own texts.",
    workflow="prompts → (reward model →) sample → score → reject → pairs → reference log-probs → train → evaluate",
    data=("prompts",),
    sections=("data", "generate", "score", "rejection", "pairs", "reference", "loss", "train", "evaluate"),
    optional=("sft", "reward_model", "judge"),
    losses=("sigmoid_norm", "hinge_norm", "dpo"),
    on_policy=True,
    defaults={
        "loss": {"name": Default("sigmoid_norm", "table 1")},
        "train": {
            "learning_rate": Default(1e-5, "section 4 (with Adafactor)"),
            "batch_size": Default(32, "section 4"),
        },
    },
    starter={
        "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
        "generate": {"candidates_per_prompt": 8, "temperature": 0.7, "top_k": 40, "max_new_tokens": 64},
        "score": {"scorer": "my_scorers.py:helpfulness"},
        "rejection": {"temperature": 0.5, "num_accepted": 4},
        "loss": {"name": "sigmoid_norm", "beta": 0.05},
        "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 1},
        "evaluate": {"judge": "my_scorers.py:independent", "baseline": "reference"},
    },
    presets={
        "paper": {
            "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
            "reward_model": {"data": {"files": "human_pairs.jsonl"}, "head": "pairwise"},
            "generate": {"candidates_per_prompt": 64, "temperature": 0.7, "top_k": 40, "max_new_tokens": 64},
            "score": {"scorer": "reward_model"},
            "rejection": {"temperature": 0.5, "num_accepted": 8},
            "judge": {"judge": "reward_model"},
            "pairs": {"rule": "first_round"},
            "loss": {"name": "sigmoid_norm", "beta": 0.05},
            "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 1},
            "evaluate": {"judge": "my_scorers.py:independent", "baseline": "reference"},
        },
    },
)
