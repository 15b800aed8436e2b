"""Evaluation: the policy against its reference, on rows that nothing was trained on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from preflow.artifacts.files import write_json
from preflow.artifacts.ids import Message, completion_id
from preflow.artifacts.io import expect_kind, read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.artifacts.prompts import read_prompts
from preflow.errors import SettingsError
from preflow.evaluation.comparison import Duel, duels, text_numbers, win_numbers
from preflow.evaluation.divergence import kl_numbers, sequence_kls
from preflow.evaluation.likelihood import log_ratios, reward_accuracies, reward_margins
from preflow.evaluation.statistics import clustered_mean
from preflow.models.load import device, load_model, use_all_cores
from preflow.models.sampling import Sample, sample
from preflow.models.scorers import load_scorer, score_batches
from preflow.settings.evaluate import EvaluateSettings
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer
from preflow.training.streams import pairs_stream

Prompts = dict[str, list[dict[str, str]]]


def run(
    step: Step, *, policy: str, reference: str, tokenizer: str, heldout: str, judge: str, samples: str, numbers: str
) -> None:
    """Write samples of both sides (completions/v1) and the headline numbers (JSON). Nothing held out: nothing measured, said so."""
    settings = step.settings(EvaluateSettings)
    use_all_cores()
    evaluation = _Evaluation(step, settings, Tokenizer.load(tokenizer), heldout)
    scorer = load_scorer(judge, settings.judge_function) if settings.judge_function else None
    if evaluation.prompts:
        evaluation.models = tuple(load_model(path, settings.dtype).to(device()) for path in (policy, reference))
        evaluation.measure(scorer)
    else:
        step.warn(
            "no held-out rows: nothing was measured. Set data.heldout_fraction, data.heldout or evaluate.prompts."
        )
    write_rows(samples, COMPLETIONS, evaluation.sample_rows())
    step.metrics(evaluation.numbers)
    write_json(numbers, {**evaluation.numbers, "heldout_prompts": len(evaluation.prompts)}, indent=1)


class _Evaluation:
    """Gathers the numbers of one policy, phase after phase."""

    models: tuple[Any, ...]

    def __init__(self, step: Step, settings: EvaluateSettings, tokenizer: Tokenizer, heldout: str):
        self.step, self.settings, self.tokenizer, self.heldout = step, settings, tokenizer, heldout
        self.kind = expect_kind(heldout, (PROMPTS, PAIRS))
        self.numbers: dict[str, float] = {}
        self.duels: list[Duel] = []
        self.prompts: Prompts = read_prompts(heldout)
        if settings.baseline == "chosen" and self.kind is not PAIRS:
            raise SettingsError(
                "evaluate.baseline is chosen, but the held-out rows are prompts. Hold out pairs, or use the reference."
            )

    def measure(self, scorer: Any) -> None:
        if self.kind is PAIRS:
            self._measure_pairs()
        asked = self._asked()
        if self.settings.samples_per_prompt:
            self._measure_samples(asked, scorer)
        if self.settings.kl_samples_per_prompt:
            self._measure_kl(asked)

    def _asked(self) -> Prompts:
        """The prompts that are sampled: the first by their hash, so that more rows change few of them."""
        return {identity: self.prompts[identity] for identity in sorted(self.prompts)[: self.settings.max_prompts]}

    def _measure_pairs(self) -> None:
        stream = pairs_stream(read_rows(self.heldout, PAIRS), self.tokenizer)
        policy, reference = self.models
        ratios = log_ratios(
            policy,
            reference,
            stream.store,
            self.settings.micro_batch_tokens,
            self._phase("log-probs of held-out pairs"),
        )
        margins = reward_margins(stream, ratios)
        clusters = [str(stream.store.prompt_of[int(each)]) for each in stream.roles["chosen"]]
        estimate = clustered_mean(
            reward_accuracies(margins).tolist(), clusters, self.settings.confidence, self.settings.seed
        )
        self.numbers |= {
            "eval/reward_accuracy": estimate.mean,
            "eval/reward_accuracy_low": estimate.low,
            "eval/reward_accuracy_high": estimate.high,
            "eval/reward_margin": float(self.settings.beta * margins.mean()),
            "eval/pairs": float(len(stream)),
        }

    def _measure_samples(self, asked: Prompts, scorer: Any) -> None:
        policy, reference = self.models
        own = self._sample(policy, asked, "policy samples")
        other = (
            self._chosen_texts(asked)
            if self.settings.baseline == "chosen"
            else self._sample(reference, asked, "baseline samples")
        )
        self.duels = duels(asked, own, other)
        self.numbers |= text_numbers(self.duels)
        if scorer is None:
            self.step.log("no judge: no win rate")
            return
        self._judge(scorer)
        self.numbers |= win_numbers(self.duels, self.settings.confidence, self.settings.seed)
        if self.settings.judge_is_scorer:
            self.step.warn(
                "the judge is the scorer that was trained on: its win rate shows that the reward was learned, not that texts are better."
            )

    def _sample(self, model: Any, asked: Prompts, phase: str, *, own_law: bool = False) -> list[Sample]:
        """Policy and baseline share the draws of a prompt's samples, so that equal models write equal texts."""
        settings = self.settings
        count = settings.kl_samples_per_prompt if own_law else settings.samples_per_prompt
        found = sample(
            model,
            self.tokenizer,
            list(asked.items()),
            samples_per_prompt=count,
            temperature=1.0 if own_law else settings.temperature,
            top_k=0 if own_law else settings.top_k,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=self._phase(phase),
        )
        return list(found)

    def _chosen_texts(self, asked: Prompts) -> list[Sample]:
        found = {}
        for row in read_rows(self.heldout, PAIRS):
            if row["prompt_id"] in asked and row["prompt_id"] not in found:
                ids = self.tokenizer.encode_completion(row["chosen"])
                found[row["prompt_id"]] = Sample(row["prompt_id"], 0, row["chosen"], ids, "stop", 0.0)
        return list(found.values())

    def _judge(self, scorer: Any) -> None:
        prompts = [duel.prompt for duel in self.duels for _ in range(2)]
        texts = [text for duel in self.duels for text in (duel.policy.text, duel.baseline.text)]
        scores: list[float] = []
        for batch in score_batches(
            scorer, prompts, texts, self.settings.batch_size, f"judge {self.settings.judge_function}"
        ):
            scores += batch
            self._phase("judging")(len(scores), len(texts))
        self.duels = [replace(duel, scores=(scores[2 * i], scores[2 * i + 1])) for i, duel in enumerate(self.duels)]

    def _measure_kl(self, asked: Prompts) -> None:
        policy, reference = self.models
        own = self._sample(policy, asked, "samples for the KL", own_law=True)
        encoded = dict(zip(asked, self.tokenizer.encode_prompts(list(asked.values())), strict=True))
        kls = sequence_kls(policy, reference, self.tokenizer, encoded, own, self._phase("KL to the reference"))
        self.numbers |= kl_numbers(kls, own)

    def _phase(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.step.progress(done, total, "", name)

    def sample_rows(self) -> Iterator[dict[str, Any]]:
        """Both sides of every duel, with the judge's scores."""
        for duel in self.duels:
            for place, (side, each) in enumerate((("policy", duel.policy), ("baseline", duel.baseline))):
                yield {
                    "completion_id": completion_id(duel.prompt_id, each.text, side, duel.policy.sample_index),
                    "prompt_id": duel.prompt_id,
                    "prompt": _plain(duel.prompt),
                    "sample_index": duel.policy.sample_index,
                    "text": each.text,
                    "token_ids": each.token_ids,
                    "source": side,
                    "finish_reason": each.finish_reason,
                    "score": duel.scores[place] if duel.scores else None,
                    "split": "heldout",
                }


def _plain(prompt: Sequence[Message]) -> list[dict[str, str]]:
    return [dict(message) for message in prompt]
