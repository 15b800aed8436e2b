"""How well a reward model ranks pairs that it was not trained on."""

import numpy as np
import torch

from preflow.evaluation.likelihood import mean_margin, reward_accuracy
from preflow.losses.logps import logistic
from preflow.models.load import device
from preflow.models.packing import PromptGroup
from preflow.models.rewards import SequenceRewards, rewards_of
from preflow.settings.reward_model import RewardModelSettings
from preflow.text.comparison import Comparisons
from preflow.text.tokenizer import Tokenizer
from preflow.training.comparisons import ROLE, comparison_stream
from preflow.training.streams import SequenceStore, Stream

CONFIDENCE = 0.95


def heldout_numbers(
    module: SequenceRewards, settings: RewardModelSettings, pairs: Stream, tokenizer: Tokenizer
) -> dict[str, float]:
    """Accuracy (a tie is half right) with its interval by prompt, mean margin (log-odds) and log loss (nats) of the pairs.

    A pairwise head is asked in both orders; how often the place decided is `order_flip_rate`.
    """
    numbers: dict[str, float] = {}
    if settings.head == "scalar":
        rewards = store_rewards(module, pairs.store, settings.micro_batch_tokens)
        margins = rewards[pairs.roles["chosen"]] - rewards[pairs.roles["rejected"]]
        both = rewards[np.concatenate([pairs.roles["chosen"], pairs.roles["rejected"]])]
        numbers |= {"eval/reward_mean": float(both.mean()), "eval/reward_std": float(both.std())}
    else:
        there, back = (_comparisons(module, settings, pairs, tokenizer, swapped) for swapped in (False, True))
        margins = logit_of_mean(there, back)
        numbers["eval/order_flip_rate"] = float((there * back > 0).mean())
    accuracy = reward_accuracy(pairs, margins, CONFIDENCE, settings.seed)
    return (
        accuracy.as_numbers("eval/reward_model_accuracy")
        | {"eval/reward_model_margin": mean_margin(pairs, margins), "eval/reward_model_loss": _log_loss(pairs, margins)}
        | numbers
    )


def store_rewards(module: SequenceRewards, store: SequenceStore, micro_batch_tokens: int) -> np.ndarray:
    """[S]: the head's number of every sequence of a store."""
    by_prompt: dict[int, list[int]] = {}
    for number in range(len(store)):
        by_prompt.setdefault(store.prompt_of[number], []).append(number)
    groups = [
        PromptGroup(store.prompts[prompt], tuple(store.completions[n] for n in numbers), tuple(numbers))
        for prompt, numbers in by_prompt.items()
    ]
    found = rewards_of(module, groups, micro_batch_tokens=micro_batch_tokens, device=device())
    return np.array([found[number] for number in range(len(store))], dtype=np.float64)


def _comparisons(
    module: SequenceRewards, settings: RewardModelSettings, pairs: Stream, tokenizer: Tokenizer, swapped: bool
) -> np.ndarray:
    """[B]: the log-odds that the first answer is better, the chosen one first, or (swapped) the rejected one."""
    flipped = np.full(len(pairs), swapped)
    stream = comparison_stream(pairs, Comparisons.of(tokenizer), flipped)
    return store_rewards(module, stream.store, settings.micro_batch_tokens)[stream.roles[ROLE]]


def logit_of_mean(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """The log-odds of winning, from those of both orders: of the mean of sigmoid(there) and 1 - sigmoid(back).

    >>> logit_of_mean(np.array([2.0, 1.0]), np.array([-2.0, 1.0])).round(6).tolist()
    [2.0, 0.0]
    """
    wins, losses = np.exp(-np.logaddexp(0, -there)), np.exp(-np.logaddexp(0, there))
    wins, losses = wins + np.exp(-np.logaddexp(0, back)), losses + np.exp(-np.logaddexp(0, -back))
    return np.log(wins) - np.log(losses)


def _log_loss(pairs: Stream, margins: np.ndarray) -> float:
    found = torch.from_numpy(margins)
    wins = torch.from_numpy(pairs.preference)
    losses = wins * logistic(found) + (1 - wins) * logistic(-found)
    return float(np.average(losses.numpy(), weights=pairs.weight))
