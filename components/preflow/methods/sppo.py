"""SPPO: each sample's log-ratio is regressed on its win rate against the policy's other samples."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="sppo",
    title="Self-play preference optimization (SPPO)",
    paper="2405.00675",
    idea="The multiplicative-weights step of the game against oneself, as a regression: what wins goes up and what loses goes down, each by its own win rate.",
    equation="L = ((a - eta * (w_chosen - 1/2))^2 + (b - eta * (w_rejected - 1/2))^2) / 2,  a and b log-ratios to the round's own start, w win rates over all K samples",
    use_when="You have prompts and a judge, preferences may be intransitive, and the chosen texts must not lose likelihood.",
    workflow="prompts → rounds of (sample → judge → best and worst with win rates → reference log-probs → train) → best round → evaluate",
    data=("prompts",),
    sections=("data", "rounds", "generate", "pairs", "reference", "loss", "train", "evaluate"),
    optional=("judge", "score", "reward_model"),
    one_of=("judge", "score"),
    losses=("sppo", "sppo_pair", "sppo_hard", "dpo", "ipo"),
    reference="the policy of the round's start",
    on_policy=True,
    defaults={
        "rounds": {"keep": Default("best", "section 5.1: by win rate on held-out prompts")},
        "generate": {
            "candidates_per_prompt": Default(5, "section 5.1"),
            "temperature": Default(1.0, "section 5.1; 0.7 in the official code"),
            "top_k": Default(0, "section 5.1: top-p 1.0"),
        },
        "pairs": {
            "rule": Default("sppo", "section 5.1"),
            "rank_by": Default("mean_score", "section 5.1: highest and lowest mean score of the ranker"),
        },
        "loss": {"name": Default("sppo", "equation 4.7")},
        "train": {
            "learning_rate": Default(5e-7, "section 5.1"),
            "schedule": Default("linear", "section 5.1"),
            "warmup_ratio": Default(0.1, "section 5.1"),
            "optimizer": Default(
                "rmsprop", "official code: targets of hundreds of nats need an optimizer without scale"
            ),
        },
    },
    starter={
        "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
        "rounds": {"count": 3},
        "generate": {"candidates_per_prompt": 5, "temperature": 1.0, "max_new_tokens": 64},
        "judge": {"judge": "my_scorers.py:prefer"},
        "loss": {"name": "sppo", "eta": 1000.0},
        "train": {"learning_rate": 5.0e-7, "batch_size": 64, "epochs": 1},
        "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
    },
)
