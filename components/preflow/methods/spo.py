"""SPO: a policy gradient whose reward is the win rate against the policy's own samples."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="spo",
    title="Self-play preference optimization, minimaximalist (SPO)",
    paper="2401.04056",
    idea="In a symmetric game one player against itself finds the policy that is never beaten more often than not: a sample's reward is how often it beats the others of its prompt.",
    equation="r_i = mean over j of P(y_i beats y_j),  A_i = r_i - 1/2,  L = -min(q * A, clip(q, 1 - e, 1 + e) * A),  q = pi / sampler of the sequence",
    use_when="Your judge's preferences run in circles or are noisy, so that no scalar reward fits them.",
    workflow="prompts → rounds of (sample → judge → win rates → train by policy gradient) → best round → evaluate",
    data=("prompts",),
    sections=("data", "rounds", "generate", "pairs", "loss", "train", "evaluate"),
    optional=("judge", "score", "reward_model"),
    one_of=("judge", "score"),
    losses=("ppo_seq", "reinforce"),
    reference="none; the ratio to the sampler is clipped",
    on_policy=True,
    defaults={
        "rounds": {"keep": Default("best", "returns the best policy by validation")},
        "generate": {
            "candidates_per_prompt": Default(4, "RLOO, arXiv 2402.14740: 2 to 4"),
            "temperature": Default(1.0, "a policy gradient needs the policy's own samples"),
            "top_k": Default(0, "a policy gradient needs the policy's own samples"),
        },
        "pairs": {"rule": Default("spo", "algorithm 1, with a prompt's samples as its queue")},
        "loss": {"name": Default("ppo_seq", "any policy gradient; the paper has PPO")},
    },
    starter={
        "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
        "rounds": {"count": 3},
        "generate": {"candidates_per_prompt": 4, "max_new_tokens": 64},
        "judge": {"judge": "my_scorers.py:prefer"},
        "loss": {"name": "ppo_seq", "epsilon": 0.2},
        "train": {"learning_rate": 1.0e-6, "batch_size": 64, "epochs": 1},
        "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
    },
)
