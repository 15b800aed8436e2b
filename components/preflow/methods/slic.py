"""SLiC-HF: calibrate a model's own log-probs until the better text is ahead by a margin."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="slic",
    title="Sequence likelihood calibration with human feedback (SLiC-HF)",
    paper="2305.10425",
    idea="A hinge on the policy's own log-probs, with no reference: the better text is to be ahead by a margin, and no more. What keeps the policy a language model is the likelihood of a target.",
    equation="L = max(0, delta - (log pi(chosen) - log pi(rejected))) + regularization * NLL(target)",
    use_when="A reference costs too much; with prompts and a scorer or ranker, pairs come from your model's own texts.",
    workflow="pairs → train → evaluate (direct); prompts → sample → score, or judge in a tournament → pairs → train → evaluate (sample and rank)",
    data=("pairs", "prompts"),
    sections=("data", "loss", "train", "evaluate"),
    with_data={"prompts": ("generate", "score", "judge", "pairs")},
    one_of=("score", "judge"),
    optional=("sft", "reward_model", "targets"),
    losses=("slic", "hinge"),
    reference="none",
    defaults={
        "judge": {"schedule": Default("tournament", "section 3.2: m - 1 comparisons of m candidates")},
        "pairs": {
            "rule": Default("tournament", "section 3.2; with a pointwise reward the paper draws m pairs: rule random")
        },
        "loss": {"name": Default("slic", "equation 4")},
        "train": {
            "learning_rate": Default(1e-5, "section 4"),
            "batch_size": Default(32, "section 4"),
        },
    },
    starter={
        "data": {"pairs": "pairs.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "slic", "delta": 1.0},
        "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
    presets={
        "sample_and_rank": {
            "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
            "reward_model": {"data": {"files": "human_pairs.jsonl"}, "head": "pairwise"},
            "generate": {"candidates_per_prompt": 8, "temperature": 0.7, "top_k": 40, "max_new_tokens": 64},
            "judge": {"judge": "reward_model"},
            "loss": {"name": "slic", "delta": 1.0},
            "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 1},
            "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
        },
        "sample_and_score": {
            "data": {"prompts": "prompts.jsonl", "heldout_fraction": 0.1},
            "generate": {"candidates_per_prompt": 8, "temperature": 0.7, "top_k": 40, "max_new_tokens": 64},
            "score": {"scorer": "my_scorers.py:helpfulness"},
            "pairs": {"rule": "random"},
            "loss": {"name": "slic", "delta": 1.0, "regularization": 0.1, "target": "best"},
            "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 1},
            "evaluate": {"judge": "my_scorers.py:independent", "max_prompts": 64},
        },
    },
)
