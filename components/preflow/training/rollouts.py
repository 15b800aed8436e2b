"""Rollouts: completions that a policy has just sampled, with all that is known about each of their tokens.

N completions, prompt after prompt, K of each; T tokens in the longest. Tokens stand at the left of [N, T], `mask` says
where they are. Log-probs are nats, rewards and values in units of the score.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from preflow.losses.advantages import (
    generalized_advantages,
    group_normalised,
    kl_estimates,
    leave_one_out,
    shaped_rewards,
    whitened,
)
from preflow.losses.value import explained_variance
from preflow.settings.rl import RLSettings


@dataclass(frozen=True)
class Rollout:
    """prompts: [N] the number of each completion's prompt; tokens, mask: [N, T]; finished: [N], false where cut at the limit.

    scores: [N] of the scorer; sampler_logps, reference_logps: [N, T] under the policy that sampled and the reference;
    values: [N, T] the value network's, of the text before each token, zero without one; rewards: [N, T] the score at the
    last token and the KL penalty at each; advantages, returns: [N, T]. The last three come from `with_advantages`.
    """

    prompts: Tensor
    tokens: Tensor
    mask: Tensor
    finished: Tensor
    scores: Tensor
    sampler_logps: Tensor
    reference_logps: Tensor
    values: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Tensor:
        """[N] tokens of each completion."""
        return self.mask.sum(1)

    def completion(self, row: int) -> list[int]:
        """Its token ids."""
        return self.tokens[row, : int(self.lengths[row])].tolist()

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        return dict(vars(self))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Rollout":
        """What `tensors` gave."""
        return cls(**tensors)


def without_advantages(**known: Tensor) -> Rollout:
    """A rollout whose rewards are still to be made."""
    nothing = torch.zeros_like(known["sampler_logps"])
    return Rollout(**known, rewards=nothing, advantages=nothing, returns=nothing)


def with_advantages(rollout: Rollout, settings: RLSettings, beta: float) -> Rollout:
    """The rollout with rewards and advantages, under a KL penalty of strength `beta`.

    ppo: the penalty at every token, the score at the last; GAE; whitened over the rollout's tokens, if so set.
    rloo: the reward of a completion is its score minus beta times its summed log-ratio; minus the mean of the others.
    grpo: scores alone, by mean and deviation of the prompt's completions; the penalty is a part of the loss.
    """
    scores = penalised(rollout, settings)
    mask, sampler = rollout.mask, rollout.sampler_logps
    if settings.algorithm == "ppo":
        rewards = shaped_rewards(sampler, rollout.reference_logps, scores, mask, beta=beta)
        advantages, returns = generalized_advantages(
            rewards, rollout.values, mask, gamma=settings.discount, lam=settings.gae_lambda
        )
        advantages = whitened(advantages, mask) if settings.whiten else advantages
        return replace(rollout, rewards=rewards, advantages=advantages, returns=returns)
    in_rewards = beta if settings.algorithm == "rloo" else 0.0
    rewards = shaped_rewards(sampler, rollout.reference_logps, scores, mask, beta=in_rewards)
    groups = rewards.sum(1).reshape(-1, settings.samples_per_prompt)
    found = leave_one_out(groups) if settings.algorithm == "rloo" else group_normalised(groups)
    advantages = torch.where(mask, found.reshape(-1, 1), 0.0)
    return replace(rollout, rewards=rewards, advantages=advantages, returns=torch.zeros_like(rewards))


def penalised(rollout: Rollout, settings: RLSettings) -> Tensor:
    """[N]: the scores, less what a completion without an end costs."""
    return rollout.scores - settings.missing_end_penalty * (~rollout.finished).to(rollout.scores.dtype)


def rollout_metrics(rollout: Rollout, settings: RLSettings, beta: float) -> dict[str, float]:
    """What a rollout says about the policy that sampled it, before it is trained on.

    kl: the mean over completions of the summed log-ratio (k1, unbiased); kl_k3: the same by k3, never negative; entropy:
    minus the mean log-prob per token, an unbiased estimate.
    """
    mask, lengths = rollout.mask, rollout.lengths.double()
    k1, _, k3 = (torch.where(mask, each, 0.0).sum(1).double() for each in _kls(rollout))
    earned = penalised(rollout, settings)
    paid = earned - beta * k1
    groups = earned.reshape(-1, settings.samples_per_prompt)
    found: dict[str, Any] = {
        "score": rollout.scores.mean(),
        "score_std": rollout.scores.std(correction=0),
        "reward": paid.mean(),
        "reward_std": paid.std(correction=0),
        "kl": k1.mean(),
        "kl_k3": k3.mean(),
        "kl_per_token": k1.sum() / lengths.sum(),
        "entropy": -torch.where(mask, rollout.sampler_logps, 0.0).sum() / lengths.sum(),
        "completion_tokens": lengths.mean(),
        "completion_tokens_min": lengths.min(),
        "completion_tokens_max": lengths.max(),
        "unfinished_share": (~rollout.finished).double().mean(),
        "beta_equivalent": beta,
    }
    if settings.samples_per_prompt > 1:
        found["zero_std_groups"] = (groups == groups[:, :1]).all(1).double().mean()
    if settings.algorithm == "ppo":
        found["value_mean"] = rollout.values[mask].mean()
        found["explained_variance"] = explained_variance(rollout.values[mask], rollout.returns[mask])
    return {f"train/{name}": float(value) for name, value in found.items()}


def _kls(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
    return kl_estimates(rollout.sampler_logps, rollout.reference_logps)


def mean_kl(rollout: Rollout) -> float:
    """Nats per completion, KL(policy || reference) by k1: what the controller steers."""
    return float(torch.where(rollout.mask, _kls(rollout)[0], 0.0).sum(1).mean())


def next_beta(beta: float, kl: float, settings: RLSettings) -> float:
    """An adaptive penalty: beta grows by at most a fifth of `kl_gain` while the KL is above the target, and falls below it.

    Ziegler et al. 2019, arXiv 1909.08593, section 2.2. Without a target beta stays.

    >>> round(next_beta(0.1, 12.0, RLSettings(kl_target=6.0)), 6), round(next_beta(0.1, 5.4, RLSettings(kl_target=6.0)), 6)
    (0.102, 0.099)
    """
    if settings.kl_target is None:
        return beta
    error = min(max(kl / settings.kl_target - 1, -0.2), 0.2)
    return beta * (1 + settings.kl_gain * error)
