"""DNO: rounds of contrastive training towards the policy that no other one beats."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="dno",
    title="Direct Nash optimization",
    paper="2404.03715",
    idea="Each round samples from its own policy, compares the samples with each other and a teacher's answer, and trains on the pairs with a large margin; the policy that sampled is the reference.",
    equation="L = softplus(-beta * h) on pairs with a good positive and a margin, h against the round's own start (loss dpo, the paper's practical form); or the cross-entropy of beta * h with the difference of win rates (loss dno)",
    use_when="You have prompts, a judge that compares two texts, and perhaps a stronger model's answers.",
    workflow="prompts → rounds of (sample → judge → pairs with margin → history → reference log-probs → train) → best round → evaluate",
    data=("prompts",),
    sections=("data", "rounds", "generate", "pairs", "reference", "loss", "train", "evaluate"),
    optional=("teacher", "judge", "score", "reward_model"),
    one_of=("judge", "score"),
    losses=("dpo", "dno", "ipo", "sigmoid_norm", "hinge_norm", "rebel"),
    reference="the policy of the round's start",
    on_policy=True,
    defaults={
        "rounds": {
            "history_share": Default(0.3, "section 5.1: 30 % of the previous round's pairs"),
            "keep": Default("best", "algorithm 2: the best by validation"),
        },
        "generate": {
            "candidates_per_prompt": Default(5, "section 5.1"),
            "top_k": Default(0, "all tokens; section 5.1 cuts at top-p 0.95, which is not offered"),
        },
        "pairs": {"rule": Default("dno", "section 5.1")},
        "loss": {"name": Default("dpo", "equation 13")},
    },
    starter={
        "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
        "rounds": {"count": 3},
        "generate": {"candidates_per_prompt": 5, "temperature": 0.7, "max_new_tokens": 64},
        "teacher": {"files": "teacher.jsonl"},
        "judge": {"judge": "my_scorers.py:prefer"},
        "loss": {"name": "dpo", "beta": 0.1},
        "train": {"learning_rate": 1.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
    },
)
