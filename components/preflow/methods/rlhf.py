"""RLHF: a model of what people prefer, and a policy that is trained on what it says."""

from preflow.methods.page import Method

METHOD = Method(
    name="rlhf",
    title="Reinforcement learning from human feedback",
    paper="2203.02155",
    idea="A reward model learns to rank answers as people do; the policy writes, is rewarded, and is paid for staying near where it started. PPO, or RLOO and GRPO, which do without a value network.",
    equation="max E[R(x, y)] - beta * KL(pi || ref),  R from -log sigmoid(R(chosen) - R(rejected)); per token: -min(q * A, clip(q, 1 - clip, 1 + clip) * A), q = pi / sampler",
    use_when="You have human pairs, or a scorer, and can afford to sample while training.",
    workflow="pairs → (sft →) reward model → sample, score, train, again and again → evaluate",
    data=("pairs", "prompts"),
    sections=("data", "rl", "evaluate"),
    optional=("sft", "reward_model", "score"),
    losses=(),
    on_policy=True,
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "reward_model": {"learning_rate": 9.0e-6, "batch_size": 64, "epochs": 1},
        "rl": {
            "algorithm": "ppo",
            "rollouts": 16,
            "prompts_per_rollout": 16,
            "samples_per_prompt": 4,
            "max_new_tokens": 64,
            "beta": 0.05,
            "learning_rate": 1.0e-6,
        },
        "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
    },
    presets={
        "verifiable": {
            "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
            "score": {"scorer": "verifiable", "verify": {"rule": "numeric"}},
            "rl": {
                "algorithm": "grpo",
                "rollouts": 16,
                "prompts_per_rollout": 16,
                "samples_per_prompt": 8,
                "batch_size": 128,
                "max_new_tokens": 64,
                "beta": 0.001,
                "learning_rate": 1.0e-6,
            },
            "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
        },
    },
)
