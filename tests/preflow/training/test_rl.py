"""Reinforcement learning: exact gradients, advantages as in the papers, the optimum that is known, resumption."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

import tiny
from preflow.losses.advantages import generalized_advantages
from preflow.models.packing import PromptGroup, pack
from preflow.models.sequence_logps import SequenceLogps
from preflow.models.values import TokenNumbers, ValueNetwork
from preflow.settings.rl import RLSettings
from preflow.training.policy_gradient import RolloutEngine, flat_tokens, measured, rollout_micros
from preflow.training.rl import RLTrainer
from preflow.training.rollouts import (
    Rollout,
    mean_kl,
    next_beta,
    rollout_metrics,
    with_advantages,
    without_advantages,
)
from two_processes import can_fork, in_two_processes

PROMPTS = [[5, 6, 7], [9], [3, 3, 8, 1, 2]]
DEVICE = torch.device("cpu")


class Silent:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.points: list[dict[str, Any]] = []

    def progress(self, done: int, total: int | None, unit: str = "", note: str = "") -> None: ...

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.points += [{"name": name, "step": step, "value": value} for name, value in values.items()]

    def restore_metrics(self, points: list[dict[str, Any]]) -> None:
        self.points = list(points)

    def log(self, text: str) -> None: ...

    @property
    def metric_points(self) -> list[dict[str, Any]]:
        return list(self.points)

    def series(self, name: str) -> list[float]:
        return [point["value"] for point in self.points if point["name"] == f"train/{name}"]


def network(seed: int = 0) -> ValueNetwork:
    found = ValueNetwork(tiny.tiny_network(seed, family="gpt2")).double()
    torch.manual_seed(seed)
    nn.init.normal_(found.head.weight, std=0.1)
    return found


def settings_of(algorithm: str, **values: Any) -> RLSettings:
    return RLSettings(algorithm=algorithm, samples_per_prompt=4, prompts_per_rollout=3, micro_batch_tokens=64, **values)


def ragged(settings: RLSettings, module: TokenNumbers) -> Rollout:
    """Completions of ragged lengths, scored at random, sampled by a policy near the one in training."""
    generator = torch.Generator().manual_seed(1)
    count = len(PROMPTS) * settings.samples_per_prompt
    lengths = torch.randint(1, 7, (count,), generator=generator)
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    tokens = torch.where(mask, torch.randint(400, mask.shape, generator=generator), 0)
    prompts = torch.arange(len(PROMPTS)).repeat_interleave(settings.samples_per_prompt)
    known = {"prompts": prompts, "tokens": tokens, "mask": mask}
    nothing = torch.zeros(mask.shape, dtype=torch.float64)
    bare = without_advantages(
        **known,
        finished=torch.rand(count, generator=generator) > 0.3,
        scores=torch.randn(count, generator=generator, dtype=torch.float64),
        sampler_logps=nothing,
        reference_logps=nothing,
        values=nothing,
    )
    numbers = measured(module, rollout_micros(bare, PROMPTS, np.arange(count), 64), mask.shape, DEVICE)
    noise = [0.3 * torch.randn(mask.shape, generator=generator, dtype=torch.float64) * mask for _ in range(3)]
    values = numbers[1] + noise[2] if len(numbers) > 1 else nothing
    found = replace(bare, sampler_logps=numbers[0] + noise[0], reference_logps=numbers[0] + noise[1], values=values)
    return with_advantages(found, settings, settings.beta)


def by_hand(module: TokenNumbers, rollout: Rollout, settings: RLSettings, rows: list[int]) -> Tensor:
    """The objective of some completions, one at a time through the plain model, from the papers' formulas."""
    policy, value, losses = [], [], []
    tokens = float(rollout.lengths[rows].sum())
    for row in rows:
        prompt, completion = PROMPTS[rollout.prompts[row]], rollout.completion(row)
        length = len(completion)
        ids = torch.tensor([prompt + completion])
        logits = module.sequences.model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        new = logits.gather(-1, torch.tensor(completion)[:, None])[:, 0]
        old, reference = rollout.sampler_logps[row, :length], rollout.reference_logps[row, :length]
        advantages = rollout.advantages[row, :length]
        if settings.algorithm == "rloo":
            ratio, advantage = (new.sum() - old.sum()).exp(), advantages[0]
            losses.append(-torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) / len(rows))
            continue
        ratio = (new - old).exp()
        surrogate = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        if settings.algorithm == "grpo":
            gap = reference - new
            losses.append((surrogate + settings.beta * (gap.exp() - gap - 1)).mean() / len(rows))
            continue
        policy.append(surrogate)
        hidden = module.network.backbone(ids).last_hidden_state[0, len(prompt) - 1 : -1]
        values, before = module.network.head(hidden)[:, 0], rollout.values[row, :length]
        clipped, wanted = before + (values - before).clamp(-0.2, 0.2), rollout.returns[row, :length]
        value.append(0.5 * torch.max((values - wanted) ** 2, (clipped - wanted) ** 2))
    return torch.stack(losses).sum() if losses else (torch.cat(policy).sum() + torch.cat(value).sum()) / tokens


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
@pytest.mark.parametrize("budget", [8, 64, 10_000])
def test_every_cut_gives_the_gradient_by_hand(algorithm: str, budget: int) -> None:
    settings = settings_of(algorithm, beta=0.2).model_copy(update={"micro_batch_tokens": budget})
    model = tiny.tiny_network(family="gpt2").double()
    module = TokenNumbers(SequenceLogps(model), network() if algorithm == "ppo" else None)
    rollout, rows = ragged(settings, module), [11, 0, 3, 4, 7, 8, 2]
    expected_loss = by_hand(module, rollout, settings, rows)
    expected_loss.backward()
    expected = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    module.zero_grad(set_to_none=True)
    update = RolloutEngine(module, PROMPTS, settings, device=DEVICE).update(rollout, np.array(rows), settings.beta)
    found = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    assert update.loss == pytest.approx(expected_loss.item(), rel=1e-10)
    assert (found - expected).norm() / expected.norm() < 1e-10
    assert update.approx_kl > 0
    assert 0 <= update.means["clip_fraction_low"] + update.means["clip_fraction_high"] <= 1


def test_flat_and_padded_are_each_others_inverse() -> None:
    module = TokenNumbers(SequenceLogps(tiny.tiny_network(family="gpt2").double()))
    rollout = ragged(settings_of("rloo"), module)
    for micro in rollout_micros(rollout, PROMPTS, np.arange(len(rollout)), 40):
        packed = pack(micro.groups)
        assert flat_tokens(rollout.tokens, packed).equal(packed.targets)


def test_values_of_tokens_see_what_stands_before_them() -> None:
    found = network()
    group = PromptGroup([5, 6], ([7, 8, 9], [7, 1]), (0, 1))
    together = found.token_values(pack([group]))
    alone = torch.cat([found.token_values(pack([PromptGroup([5, 6], (each,), (0,))])) for each in group.completions])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    values = together.tolist()
    assert values[0] == pytest.approx(values[3]), "before its first token a completion is no more than its prompt"
    assert values[1] == pytest.approx(values[4])
    assert values[1] != pytest.approx(values[2])


def test_ppo_shapes_rewards_per_token_and_whitens() -> None:
    settings = settings_of("ppo", beta=0.3, missing_end_penalty=2.0, gae_lambda=0.9)
    rollout = ragged(settings, TokenNumbers(SequenceLogps(tiny.tiny_network(family="gpt2").double()), network()))
    mask, last = rollout.mask, rollout.lengths - 1
    ratios = torch.where(mask, rollout.sampler_logps - rollout.reference_logps, 0.0)
    scores = rollout.scores - 2.0 * (~rollout.finished)
    expected = -0.3 * ratios
    expected[torch.arange(len(rollout)), last] += scores
    torch.testing.assert_close(rollout.rewards, torch.where(mask, expected, 0.0))
    raw, returns = generalized_advantages(rollout.rewards, rollout.values, mask, lam=0.9)
    torch.testing.assert_close(rollout.returns, returns)
    assert rollout.advantages[mask].mean().abs() < 1e-12
    assert rollout.advantages[mask].std() == pytest.approx(1.0)
    plain = with_advantages(rollout, settings.model_copy(update={"whiten": False}), 0.3)
    torch.testing.assert_close(plain.advantages, raw)


def test_group_baselines_sum_to_zero_and_take_the_penalty_where_the_papers_do() -> None:
    module = TokenNumbers(SequenceLogps(tiny.tiny_network(family="gpt2").double()))
    for algorithm in ("rloo", "grpo"):
        settings = settings_of(algorithm, beta=0.3)
        rollout = ragged(settings, module)
        per_completion = rollout.advantages[:, 0].reshape(3, 4)
        assert per_completion.sum(1).abs().max() < 1e-9
        assert (rollout.advantages == torch.where(rollout.mask, rollout.advantages[:, :1], 0.0)).all()
        k1 = torch.where(rollout.mask, rollout.sampler_logps - rollout.reference_logps, 0.0).sum(1)
        rewards = (rollout.scores - (~rollout.finished).double() - (0.3 * k1 if algorithm == "rloo" else 0)).reshape(
            3, 4
        )
        centred = rewards - rewards.mean(1, keepdim=True)
        expected = centred * 4 / 3 if algorithm == "rloo" else centred / (rewards.std(1, keepdim=True) + 1e-4)
        torch.testing.assert_close(per_completion, expected)


def test_metrics_name_their_estimators() -> None:
    settings = settings_of("ppo", beta=0.3)
    rollout = ragged(settings, TokenNumbers(SequenceLogps(tiny.tiny_network(family="gpt2").double()), network()))
    found = rollout_metrics(rollout, settings, 0.3)
    ratios = torch.where(rollout.mask, rollout.sampler_logps - rollout.reference_logps, 0.0)
    assert found["train/kl"] == pytest.approx(ratios.sum(1).mean().item())
    assert found["train/kl_per_token"] == pytest.approx(ratios.sum().item() / rollout.lengths.sum().item())
    assert found["train/kl_k3"] > 0
    assert found["train/entropy"] == pytest.approx(-rollout.sampler_logps[rollout.mask].mean().item())
    assert found["train/completion_tokens_max"] == rollout.mask.shape[1]
    assert 0 < found["train/unfinished_share"] < 1
    assert found["train/zero_std_groups"] == 0
    assert found["train/explained_variance"] <= 1
    whole = torch.ones_like(rollout.finished)  # or a penalty tells them apart
    tied = replace(rollout, scores=torch.ones_like(rollout.scores), finished=whole)
    assert rollout_metrics(tied, settings, 0.3)["train/zero_std_groups"] == 1
    assert mean_kl(rollout) == pytest.approx(found["train/kl"])


def test_the_controller_steers_beta_towards_the_target() -> None:
    settings = settings_of("ppo", kl_target=5.0)
    assert next_beta(1.0, 5.0, settings) == 1.0
    assert next_beta(1.0, 500.0, settings) == pytest.approx(1.02), "the error is cut at a fifth"
    assert next_beta(1.0, 0.0, settings) == pytest.approx(0.98)
    assert next_beta(1.0, 500.0, settings_of("ppo")) == 1.0


class Tabular:
    """A one-token world: a prompt, eight answers, a reward for each. The policy is a tiny network, its reference a copy."""

    REWARDS = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 1.5, -0.5, 0.2])

    def __init__(self, settings: RLSettings, folder: Path, **more: Any):
        self.settings = settings
        self.policy = tiny.tiny_network(0, family="gpt2", vocab_size=8)
        self.reference = tiny.tiny_network(0, family="gpt2", vocab_size=8)
        value = ValueNetwork(tiny.tiny_network(0, family="gpt2", vocab_size=8)) if settings.algorithm == "ppo" else None
        self.module = TokenNumbers(SequenceLogps(self.policy), value)
        self.observer = Silent()
        self.trainer = RLTrainer(
            self.module,
            [[1, 2]],
            self.collect,
            settings,
            trained=dict(self.policy.named_parameters()),
            value={f"value.{name}": each for name, each in value.named_parameters()} if value else {},
            checkpoints=folder,
            observer=self.observer,
            **more,
        )

    @torch.no_grad()
    def law(self, model: Any) -> Tensor:
        return model(torch.tensor([[1, 2]])).logits[0, -1].log_softmax(-1)

    def collect(self, number: int) -> Rollout:
        draws = torch.Generator().manual_seed(number)
        logps, reference = self.law(self.policy), self.law(self.reference)
        tokens = torch.multinomial(logps.exp(), self.settings.samples_per_prompt, True, generator=draws)[:, None]
        with torch.no_grad():
            value = (
                self.module.network.token_values(pack([PromptGroup([1, 2], ([0],), (0,))]))
                if self.module.network
                else 0
            )
        return without_advantages(
            prompts=torch.zeros(len(tokens), dtype=torch.long),
            tokens=tokens,
            mask=torch.ones_like(tokens, dtype=torch.bool),
            finished=torch.ones(len(tokens), dtype=torch.bool),
            scores=self.REWARDS[tokens[:, 0]],
            sampler_logps=logps[tokens],
            reference_logps=reference[tokens],
            values=torch.zeros_like(logps[tokens]) + value,
        )

    def optimum(self, beta: float) -> Tensor:
        """pi_ref * exp(reward / beta) / Z."""
        return (self.law(self.reference) + self.REWARDS / beta).softmax(-1)

    def distance(self, beta: float) -> float:
        """Total variation from the optimum."""
        return float((self.law(self.policy).exp() - self.optimum(beta)).abs().sum() / 2)

    def expected_reward(self, model: Any) -> float:
        return float((self.law(model).exp() * self.REWARDS).sum())

    def kl(self) -> float:
        own, reference = self.law(self.policy), self.law(self.reference)
        return float((own.exp() * (own - reference)).sum())


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo"])
def test_the_policy_approaches_the_known_optimum(algorithm: str, tmp_path: Path) -> None:
    """RLOO and PPO have the KL in the reward, so pi_ref * exp(R / beta) / Z is their fixed point. GRPO divides by the
    deviation of the group, which is another strength of the penalty: it moves the same way, not to the same place."""
    settings = RLSettings(
        algorithm=algorithm, beta=1.0, samples_per_prompt=64, prompts_per_rollout=1, rollouts=80, learning_rate=5e-3,
        value_learning_rate=1e-2, whiten=False, schedule="linear",
    )  # fmt: skip
    world = Tabular(settings, tmp_path)
    before, start = world.distance(1.0), world.expected_reward(world.reference)
    assert world.trainer.run()
    assert before > 0.3
    assert world.distance(1.0) < (0.2 if algorithm == "grpo" else 0.02)
    assert world.expected_reward(world.policy) > start + 0.7


def test_a_stronger_penalty_keeps_the_policy_nearer(tmp_path: Path) -> None:
    kls = []
    for beta in (0.3, 1.0, 3.0):
        settings = RLSettings(
            algorithm="rloo", beta=beta, samples_per_prompt=64, prompts_per_rollout=1, rollouts=40, learning_rate=5e-3
        )
        world = Tabular(settings, tmp_path / str(beta))
        world.trainer.run()
        kls.append(world.kl())
    assert kls[0] > 2 * kls[1] > 4 * kls[2] > 0


def test_the_first_update_starts_from_ratios_of_one(tmp_path: Path) -> None:
    """The first policy loss is minus the mean advantage: zero, when the whole rollout is one batch."""
    for algorithm in ("ppo", "rloo", "grpo"):
        settings = RLSettings(
            algorithm=algorithm, samples_per_prompt=64, prompts_per_rollout=1, rollouts=1, epochs=2, learning_rate=1e-2
        )
        world = Tabular(settings, tmp_path / algorithm)
        world.trainer.run()
        assert world.observer.series("policy_loss")[0] == pytest.approx(0.0, abs=1e-6)
        assert world.observer.series("approx_kl")[0] == pytest.approx(0.0, abs=1e-9)
        assert world.observer.series("approx_kl")[1] > 0
        assert len(world.observer.series("loss")) == 2


def test_passes_end_where_the_policy_has_moved_too_far(tmp_path: Path) -> None:
    settings = RLSettings(
        algorithm="rloo", samples_per_prompt=64, prompts_per_rollout=1, rollouts=2, epochs=50, learning_rate=1e-2,
        early_stop_kl=0.01,
    )  # fmt: skip
    world = Tabular(settings, tmp_path)
    assert world.trainer.run()
    made = len(world.observer.series("loss"))
    assert 2 <= made < 100
    assert max(world.observer.series("approx_kl")) <= 0.01
    assert sum(world.observer.series("updates_left_out")) == 100 - made


@pytest.mark.parametrize("stops", [(1,), (3, 4), (8,)])
def test_an_interrupted_run_ends_bit_identical(stops: tuple[int, ...], tmp_path: Path) -> None:
    """Stopped in the middle of a rollout's passes, at their end, and twice: the controller's beta is a part of the state."""
    settings = RLSettings(
        algorithm="ppo", samples_per_prompt=12, prompts_per_rollout=1, rollouts=3, epochs=2, batch_size=5, kl_target=0.1,
        learning_rate=1e-2, beta=0.5,
    )  # fmt: skip
    whole = Tabular(settings, tmp_path / "whole")
    assert whole.trainer.run()
    points: list[dict[str, Any]] = []
    for stop in (*stops, 10**9):
        world = Tabular(settings, tmp_path / "parts")
        world.trainer.should_stop = lambda world=world, stop=stop: world.trainer.step >= stop
        finished = world.trainer.run()
        points = world.observer.points
    assert finished
    for name, value in whole.trainer.parameters.items():
        assert value.equal(world.trainer.parameters[name]), name
    assert world.trainer.beta == whole.trainer.beta != 0.5
    timed = "train/rollout_seconds"
    assert [p for p in points if p["name"] != timed] == [p for p in whole.observer.points if p["name"] != timed]


def shared_update(accelerator: Accelerator) -> dict[str, Any]:
    settings = settings_of("ppo", beta=0.2)
    inner = TokenNumbers(SequenceLogps(tiny.tiny_network(family="gpt2").double()), network())
    rollout = ragged(settings, inner)
    module = accelerator.prepare(inner)
    engine = RolloutEngine(
        module, PROMPTS, settings, device=accelerator.device, no_sync=lambda: accelerator.no_sync(module)
    )
    assert engine.world == 2
    update = engine.update(rollout, np.arange(len(rollout)), 0.2)
    flat = torch.cat([p.grad.flatten() for p in inner.parameters() if p.grad is not None])
    return {"gradient": flat, "loss": update.loss, "approx_kl": update.approx_kl}


@can_fork
def test_two_processes_give_the_same_update(tmp_path: Path) -> None:
    settings = settings_of("ppo", beta=0.2)
    module = TokenNumbers(SequenceLogps(tiny.tiny_network(family="gpt2").double()), network())
    rollout = ragged(settings, module)
    update = RolloutEngine(module, PROMPTS, settings, device=DEVICE).update(rollout, np.arange(len(rollout)), 0.2)
    expected = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    for found in in_two_processes(shared_update, tmp_path):
        assert (found["gradient"] - expected).norm() / expected.norm() < 1e-10
        assert found["loss"] == pytest.approx(update.loss, rel=1e-10)
        assert found["approx_kl"] == pytest.approx(update.approx_kl, rel=1e-10)
