"""One side of the training benchmark, in a process of its own so that its peak memory is its own.

python tests/bench/training.py {preflow|trl} {precomputed|online} FOLDER     prints one JSON line
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

STEPS, BATCH, BETA, RATE = 4, 8, 0.1, 1e-5


def rows(count: int) -> list[dict[str, str]]:
    """Pairs of ragged lengths: a prompt of 40 to 120 words, completions of 20 to 80."""
    words = [
        "river",
        "stone",
        "light",
        "garden",
        "window",
        "paper",
        "music",
        "silver",
        "forest",
        "market",
        "winter",
        "summer",
        "bridge",
        "letter",
        "mountain",
        "harbour",
        "evening",
        "morning",
        "teacher",
        "kitchen",
        "journey",
        "village",
        "orchard",
        "thunder",
    ]
    generator = torch.Generator().manual_seed(0)

    def text(low: int, high: int) -> str:
        length = int(torch.randint(low, high, (1,), generator=generator))
        return " ".join(words[int(each)] for each in torch.randint(len(words), (length,), generator=generator))

    return [
        {"prompt": text(40, 120), "chosen": " " + text(20, 80), "rejected": " " + text(20, 80)} for _ in range(count)
    ]


def preflow_side(folder: Path, online: bool) -> dict[str, Any]:
    from preflow.models.load import load_model, use_all_cores
    from preflow.models.sequence_logps import SequenceLogps
    from preflow.settings.train import Term, TrainSettings
    from preflow.steps.kit import Step
    from preflow.text.tokenizer import Tokenizer
    from preflow.training.loop import Trainer
    from preflow.training.objectives import bind_terms
    from preflow.training.policy import make_policy, trained_parameters
    from preflow.training.reference import online_logps
    from preflow.training.streams import pairs_stream

    use_all_cores()
    settings = TrainSettings(
        learning_rate=RATE,
        batch_size=BATCH,
        objective=(Term(arguments={"beta": BETA}),),
        micro_batch_tokens=4096,
        checkpoint_steps=999,
    )
    source = [
        {
            "pair_id": str(number), "prompt_id": str(number), "prompt": [{"role": "user", "content": row["prompt"]}], "chosen": row["chosen"], "rejected": row["rejected"],
            "chosen_finish": None, "rejected_finish": None, "chosen_token_ids": None, "rejected_token_ids": None,
        }
        for number, row in enumerate(rows(STEPS * BATCH))
    ]  # fmt: skip
    stream = pairs_stream(source, Tokenizer.load(folder / "tokenizer"))
    step = Step.detached(folder / "preflow", name="bench")
    policy = make_policy(folder / "model", settings, torch.device("cpu"))
    reference = SequenceLogps(load_model(folder / "model"))

    def reference_pass() -> None:
        stream.reference_logps["reference"], _ = online_logps(
            reference, stream.store, micro_batch_tokens=4096, device=torch.device("cpu")
        )

    if not online:
        reference_pass()
        del reference
    trainer = Trainer(
        SequenceLogps(policy),
        {"data": stream},
        bind_terms(settings.objective),
        settings,
        trained=trained_parameters(policy),
        checkpoints=folder / "checkpoints",
        observer=step,
    )
    started = time.perf_counter()
    if online:
        reference_pass()
    trainer.run()
    seconds = time.perf_counter() - started
    losses = [point["value"] for point in step.metric_points if point["name"] == "train/loss"]
    return {
        "seconds": seconds,
        "losses": losses,
        "order": [int(n) for s in range(STEPS) for n in trainer.schedule.batch(s)],
    }


def trl_side(folder: Path, online: bool) -> dict[str, Any]:
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *arguments: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    from preflow.models.load import use_all_cores
    from preflow.training.order import Schedule

    use_all_cores()
    schedule = Schedule(STEPS * BATCH, BATCH, 1, None, 0)
    data, order = rows(STEPS * BATCH), [int(n) for s in range(STEPS) for n in schedule.batch(s)]
    model, reference = (AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32) for _ in range(2))
    options: dict[str, Any] = {
        "output_dir": str(folder / "trl"), "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1, "num_train_epochs": 1,
        "learning_rate": RATE, "lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 10.0,
        "optim": "adamw_torch", "beta": BETA, "loss_type": "sigmoid", "max_length": 1024, "bf16": False, "gradient_checkpointing": False,
        "precompute_ref_log_probs": not online, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "dataloader_num_workers": 0, "seed": 0,
    }  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    trainer = InOrder(
        model=model,
        ref_model=reference,
        args=DPOConfig(**options),
        train_dataset=Dataset.from_list([data[n] for n in order]),
        processing_class=tokenizer,
    )
    if not online:
        trainer.ref_model = None
        del reference
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"seconds": seconds, "losses": losses, "order": order, "config": options}


def main() -> None:
    side, mode, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    found = {"preflow": preflow_side, "trl": trl_side}[side](folder, mode == "online")
    found["pairs_per_second"] = STEPS * BATCH / found["seconds"]
    found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
