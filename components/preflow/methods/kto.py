"""KTO: thumbs up or down on single completions are enough."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="kto",
    title="Kahneman-Tversky optimization",
    paper="2402.01306",
    idea="A completion gains or loses against a reference point, the policy's mean drift on mismatched completions; both kinds saturate. Pairs are converted: each chosen text desirable, each rejected one not.",
    equation="L = w_D * sigmoid(-beta * (r - z0)) if desirable, else w_U * sigmoid(beta * (r - z0));  r = log(pi/ref), z0 = max(0, mean r of mismatched)",
    use_when="You have single completions that somebody liked or did not; or pairs that disagree with each other.",
    workflow="labelled completions (or pairs, scores → convert) → reference log-probs → train (mismatched pairs online) → evaluate",
    data=("labelled", "pairs", "scored"),
    sections=("data", "reference", "loss", "train", "evaluate"),
    with_data={"pairs": ("convert",), "scored": ("convert",)},
    optional=("sft",),
    losses=("kto",),
    reference="the start model, for mismatched pairs beside the policy",
    defaults={
        "loss": {"name": Default("kto", "equation 7 of version 1")},
        "train": {
            "learning_rate": Default(5e-6, "official code (HALOs)"),
            "batch_size": Default(32, "section 4; the reference point is a mean over the batch"),
        },
    },
    starter={
        "data": {"labelled": "labelled.jsonl", "heldout_fraction": 0.1},
        "loss": {"name": "kto", "beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
        "train": {"learning_rate": 5.0e-6, "batch_size": 32, "epochs": 1},
        "evaluate": {"samples_per_prompt": 1, "max_prompts": 64},
    },
)
