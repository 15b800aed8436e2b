"""The peak of a process that trains: python tests/training_peak.py MODEL SETTINGS PROMPT COMPLETION prints bytes."""

import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from preflow.models.load import device, use_all_cores
from preflow.settings.train import TrainSettings
from preflow.training.policy import make_policy
from preflow.training.streams import SequenceStore, Stream
from training_kit import Notes, trainer_of


def stream(vocabulary: int, prompt: int, completion: int, count: int) -> Stream:
    """Pairs of random tokens, all of the same lengths."""
    draws, store = np.random.default_rng(0), SequenceStore()
    roles: dict[str, list[int]] = {"chosen": [], "rejected": []}
    for _ in range(count):
        asked = draws.integers(0, vocabulary, prompt).tolist()
        for side in roles:
            answer = draws.integers(0, vocabulary, completion).tolist()
            roles[side].append(store.add(asked, answer))
    names, ones = [str(number) for number in range(count)], np.ones(count)
    made = Stream(store, names, names, {side: np.array(each) for side, each in roles.items()}, ones, ones)
    made.reference_logps["reference"] = np.full(len(store), -100.0)
    return made


def main() -> None:
    folder, text, prompt, completion = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    use_all_cores()
    settings = TrainSettings.model_validate_json(text)
    policy = make_policy(folder, settings, device())
    rows = 2 * settings.batch_size
    with tempfile.TemporaryDirectory() as checkpoints:
        data = {"data": stream(policy.config.vocab_size, prompt, completion, rows)}
        trainer_of(policy, data, settings, checkpoints=Path(checkpoints), observer=Notes()).run()
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


if __name__ == "__main__":
    main()
