"""Online DPO: pairs of the policy's own samples, judged as they come."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="online_dpo",
    title="Online direct preference optimization (OAIF)",
    paper="2402.04792",
    idea="Offline pairs are soon not what the policy writes; two fresh samples of it and a judge's choice are, in every round.",
    equation="L = softplus(-beta * h) on two samples of the round's policy, h against the start model",
    use_when="You have prompts and a judge, and DPO on fixed pairs has stopped helping.",
    workflow="prompts → rounds of (sample two → judge → pair → reference log-probs → train) → evaluate",
    data=("prompts",),
    sections=("data", "rounds", "generate", "pairs", "reference", "loss", "train", "evaluate"),
    optional=("judge", "score", "reward_model"),
    one_of=("judge", "score"),
    losses=("dpo", "ipo", "hinge_norm", "sigmoid_norm", "robust_dpo"),
    on_policy=True,
    defaults={
        "rounds": {"reference": Default("start", "section 3: the SFT model")},
        "generate": {
            "candidates_per_prompt": Default(2, "section 3"),
            "temperature": Default(0.9, "TRL 1.16"),
            "top_k": Default(0, "section 3: samples of the policy"),
        },
        "pairs": {"rule": Default("best_worst", "section 3: the judge's choice of two")},
        "loss": {"name": Default("dpo", "section 3")},
        "train": {
            "learning_rate": Default(5e-7, "experiments, by TRL's index of papers"),
            "batch_size": Default(128, "experiments, by TRL's index of papers"),
        },
    },
    starter={
        "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
        "rounds": {"count": 3},
        "generate": {"candidates_per_prompt": 2, "temperature": 0.9, "max_new_tokens": 64},
        "judge": {"judge": "my_scorers.py:prefer"},
        "loss": {"name": "dpo", "beta": 0.1},
        "train": {"learning_rate": 5.0e-7, "batch_size": 128, "epochs": 1},
        "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
    },
)
