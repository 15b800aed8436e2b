"""NPO: forgetting that ends, unlike gradient ascent."""

from preflow.methods.page import Default, Method

METHOD = Method(
    name="npo",
    title="Negative preference optimization",
    paper="2404.05868",
    idea="DPO with the forgotten text as the rejected side and no chosen one: the pull fades as the text becomes unlikely, so the model does not collapse. Retain rows hold the rest.",
    equation="L = (2 / beta) * softplus(beta * log(pi/ref)(forget)) + c * NLL(retain), or + c * KL(ref || pi)(retain)",
    use_when="A model must lose what it learned from some rows and keep everything else.",
    workflow="forget and retain rows → reference log-probs → train → evaluate (TOFU's metrics)",
    data=("forget",),
    sections=("data", "reference", "loss", "train", "evaluate"),
    optional=("retain", "unlearning"),
    losses=("npo", "gradient_ascent"),
    reference="the start model, which knows both; its distributions online for retain: kl",
    defaults={
        "data": {"heldout_fraction": Default(0.0, "what is held out is not forgotten")},
        "loss": {"name": Default("npo", "equation 3")},
        "train": {
            "learning_rate": Default(1e-5, "section 4"),
            "batch_size": Default(32, "section 4"),
            "epochs": Default(10, "section 4"),
            "schedule": Default("linear", "official code"),
            "warmup_ratio": Default(0.1, "official code: the first of ten epochs"),
            "weight_decay": Default(0.01, "official code"),
        },
    },
    starter={
        "data": {"forget": "forget.jsonl"},
        "retain": {"files": "retain.jsonl"},
        "loss": {"name": "npo", "beta": 0.1, "retain": "nll"},
        "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 10},
        "evaluate": {"prompts": "prompts.jsonl", "samples_per_prompt": 1, "max_prompts": 64},
        "unlearning": {"forget": "forget_questions.jsonl"},
    },
    presets={
        "tofu": {
            "data": {"forget": "forget10.jsonl"},
            "retain": {"files": "retain90.jsonl"},
            "loss": {"name": "npo", "beta": 0.1, "retain": "nll"},
            "train": {"learning_rate": 1.0e-5, "batch_size": 32, "epochs": 10},
            "evaluate": {"prompts": "prompts.jsonl", "samples_per_prompt": 1, "max_prompts": 64},
            "unlearning": {
                "forget": "forget10_perturbed.jsonl",
                "retain": "retain_perturbed.jsonl",
                "real_authors": "real_authors_perturbed.jsonl",
                "world_facts": "world_facts_perturbed.jsonl",
                "retain_model": {"model": "./base-model", "epochs": 5},
            },
        },
    },
)
