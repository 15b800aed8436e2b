"""What rows say beside their texts, as losses call it -> the artifact's column."""

PAIR_FACETS = {
    "chosen_scores": "chosen_score",
    "rejected_scores": "rejected_score",
    "chosen_win_rates": "chosen_win_rate",
    "rejected_win_rates": "rejected_win_rate",
    "preferences": "preference",
}
COMPLETION_FACETS = {
    "scores": "score",
    "desirable": "desirable",
    "advantages": "advantage",
    "sampler_completion_logps": "sampler_logp",
}
