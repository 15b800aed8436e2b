"""Evaluation: the policy against its reference, on rows that nothing was trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from preflow.artifacts.files import write_json
from preflow.artifacts.ids import completion_id, content_id
from preflow.artifacts.io import expect_kind, read_rows, read_stamp, write_rows
from preflow.artifacts.kinds import COMPLETIONS, PAIRS, PROMPTS
from preflow.artifacts.manifest import read_manifest
from preflow.errors import ArtifactError, SettingsError
from preflow.evaluation.comparison import Duel, duels, text_numbers, win_numbers
from preflow.evaluation.divergence import kl_numbers, sequence_kls
from preflow.evaluation.likelihood import log_ratios, mean_margin, reward_accuracy, reward_margins
from preflow.evaluation.statistics import FEW_CLUSTERS
from preflow.models.load import device, load_model, use_all_cores
from preflow.models.sampling import Sample, sample
from preflow.models.scorers import Scorer, load_scorer, score_batches
from preflow.settings.evaluate import EvaluateSettings
from preflow.steps.evaluate.completions import completion_numbers
from preflow.steps.evaluate.phases import DECODING, Phases
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer
from preflow.training.streams import completions_stream, pairs_stream

Prompts = dict[str, list[dict[str, str]]]
ROWS_PHASE, POLICY, BASELINE, JUDGE = "log-probs of held-out rows", "policy samples", "baseline samples", "judging"
KL_SAMPLES, KL = "samples for the KL", "KL to the reference"
OFTEN = 0.1
SEQUENCES = {"prompts": 0, "pairs": 4, "completions": 2}  # read per held-out row, by policy and reference

NOTHING_HELD_OUT = (
    "no held-out rows: nothing was measured. Set data.heldout_fraction, data.heldout or evaluate.prompts."
)
NOTHING_TO_JUDGE = "evaluate.judge has nothing to judge: evaluate.samples_per_prompt is 0, so there is no win rate."
JUDGE_IS_SCORER = (
    "the judge is the scorer that was trained on: its win rate shows that the reward was learned, not that texts are better. "
    "Name another judge."
)


def run(
    step: Step, *, policy: str, reference: str, tokenizer: str, heldout: str, judge: str, samples: str, numbers: str
) -> None:
    """Write samples of both sides (completions/v1) and the headline numbers (JSON).

    Nothing held out: nothing measured, said so. Raises ArtifactError, SettingsError, ScorerError, ModelError.
    """
    settings = step.settings(EvaluateSettings)
    use_all_cores()
    evaluation = _Evaluation(step, settings, Tokenizer.load(tokenizer), heldout)
    if evaluation.prompts:
        evaluation.load_judge(judge)
        evaluation.load_models(policy, reference)
        evaluation.measure()
    else:
        step.warn(NOTHING_HELD_OUT)
    write_rows(samples, COMPLETIONS, evaluation.sample_rows())
    step.metrics(evaluation.numbers)
    write_json(numbers, {**evaluation.numbers, "heldout_prompts": len(evaluation.prompts)}, indent=1)


class _Evaluation:
    """Gathers the numbers of one policy, phase after phase."""

    def __init__(self, step: Step, settings: EvaluateSettings, tokenizer: Tokenizer, heldout: str):
        self.step, self.settings, self.tokenizer, self.heldout = step, settings, tokenizer, heldout
        self.kind = expect_kind(heldout, (PROMPTS, PAIRS, COMPLETIONS))
        self.numbers: dict[str, float] = {}
        self.duels: list[Duel] = []
        self.digests: dict[str, str] = {}
        self.prompts = _heldout_prompts(heldout)
        self.asked: Prompts = {each: self.prompts[each] for each in sorted(self.prompts)[: settings.max_prompts]}
        self.judge: Scorer | None = None
        if settings.baseline == "chosen" and self.kind is not PAIRS:
            raise SettingsError(
                "evaluate.baseline is chosen, but the held-out rows are no pairs. Hold out pairs, or use the reference."
            )

    def load_judge(self, path: str) -> None:
        """The judge, tried on one text before a model is loaded: its mistakes should not come after the sampling."""
        name = self.settings.judge_function
        if name is None:
            self.step.log("no judge: no win rate")
        elif self.settings.samples_per_prompt == 0:
            self.step.warn(NOTHING_TO_JUDGE)
        else:
            self.judge = load_scorer(path, name)
            next(score_batches(self.judge, [next(iter(self.asked.values()))], ["A text."], 1, f"judge {name}"))

    def load_models(self, policy: str, reference: str) -> None:
        self.folders = paths = {"policy": policy, "baseline": reference}
        self.digests = {side: read_manifest(path).digest for side, path in paths.items()}
        self.models = tuple(load_model(path, self.settings.dtype).to(device()) for path in paths.values())

    def measure(self) -> None:
        self.phases = Phases(self.step, self._work())
        if self.kind is PAIRS:
            self._measure_pairs()
        elif self.kind is COMPLETIONS:
            self._measure_completions()
        if self.settings.samples_per_prompt:
            self._measure_samples()
        if self.settings.kl_samples_per_prompt:
            self._measure_kl()
        self._warn_of_few("eval/reward_accuracy_low", len(self.prompts))
        self._warn_of_few("eval/win_rate_low", len(self.asked))

    def _work(self) -> dict[str, int]:
        sampled = len(self.asked) * self.settings.samples_per_prompt
        for_kl = len(self.asked) * self.settings.kl_samples_per_prompt
        return {
            ROWS_PHASE: SEQUENCES[self.kind.name] * read_stamp(self.heldout).rows,
            POLICY: DECODING * sampled,
            BASELINE: DECODING * sampled if self.settings.baseline == "reference" else 0,
            JUDGE: 2 * sampled if self.judge else 0,
            KL_SAMPLES: DECODING * for_kl,
            KL: 2 * for_kl,
        }

    def _measure_pairs(self) -> None:
        settings = self.settings
        stream = pairs_stream(read_rows(self.heldout, PAIRS), self.tokenizer)
        policy, reference = self.models
        ratios = log_ratios(policy, reference, stream.store, settings.micro_batch_tokens, self.phases[ROWS_PHASE])
        margins = reward_margins(stream, ratios)
        accuracy = reward_accuracy(stream, margins, settings.confidence, settings.seed)
        self.numbers |= accuracy.as_numbers("eval/reward_accuracy")
        self.numbers["eval/reward_margin"] = settings.beta * mean_margin(stream, margins)
        self.numbers["eval/pairs"] = float(len(stream))

    def _measure_completions(self) -> None:
        """Labelled, scored, unwanted or forgotten completions: how the policy's log-probs rank them, and whether they rise."""
        stream = completions_stream(read_rows(self.heldout, COMPLETIONS), self.tokenizer)
        policy, reference = self.models
        budget, progress = self.settings.micro_batch_tokens, self.phases[ROWS_PHASE]
        ratios = log_ratios(policy, reference, stream.store, budget, progress)
        self.numbers |= completion_numbers(stream, ratios, self.folders["policy"], self.settings)
        self.numbers["eval/completions"] = float(len(stream))

    def _measure_samples(self) -> None:
        policy, reference = self.models
        own = self._sample(policy, POLICY)
        chosen = self.settings.baseline == "chosen"
        other = self._chosen_texts() if chosen else self._sample(reference, BASELINE)
        self.duels = duels(self.asked, own, other)
        self.numbers |= text_numbers(self.duels)
        if self.judge is None:
            return
        self._judge(self.judge)
        self.numbers |= win_numbers(self.duels, self.settings.confidence, self.settings.seed)
        if self.settings.judge_is_scorer:
            self.step.warn(JUDGE_IS_SCORER)

    def _sample(self, model: Any, phase: str) -> list[Sample]:
        """Every phase has draws of its own: a win rate compares independent samples. The KL needs the policy's own law."""
        settings, own_law = self.settings, phase == KL_SAMPLES
        found = sample(
            model,
            self.tokenizer,
            list(self.asked.items()),
            samples_per_prompt=settings.kl_samples_per_prompt if own_law else settings.samples_per_prompt,
            temperature=1.0 if own_law else settings.temperature,
            top_k=0 if own_law else settings.top_k,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            seed=int(content_id("evaluate", phase, settings.seed)[:12], 16),
            progress=self.phases[phase],
        )
        return list(found)

    def _chosen_texts(self) -> list[Sample]:
        """The first chosen text of every prompt that is sampled."""
        found: dict[str, Sample] = {}
        for row in read_rows(self.heldout, PAIRS):
            if row["prompt_id"] in self.asked and row["prompt_id"] not in found:
                finish = row["chosen_finish"] or "stop"
                ids = row["chosen_token_ids"] or self.tokenizer.encode_completion(row["chosen"], finish == "stop")
                found[row["prompt_id"]] = Sample(row["prompt_id"], 0, row["chosen"], ids, finish, 0.0)
        longer = sum(len(each.token_ids) > self.settings.max_new_tokens for each in found.values())
        if longer > OFTEN * len(found):
            self.step.warn(
                f"{longer} of {len(found)} chosen texts are longer than evaluate.max_new_tokens "
                f"({self.settings.max_new_tokens}): the policy is judged on shorter texts than its baseline. Raise it."
            )
        return list(found.values())

    def _judge(self, judge: Scorer) -> None:
        prompts = [duel.prompt for duel in self.duels for _ in range(2)]
        texts = [text for duel in self.duels for text in (duel.policy.text, duel.baseline.text)]
        scores: list[float] = []
        where = f"judge {self.settings.judge_function}"
        for batch in score_batches(judge, prompts, texts, self.settings.batch_size, where):
            scores += batch
            self.phases[JUDGE](len(scores), len(texts))
        self.duels = [replace(duel, scores=(scores[2 * i], scores[2 * i + 1])) for i, duel in enumerate(self.duels)]

    def _measure_kl(self) -> None:
        policy, reference = self.models
        own = self._sample(policy, KL_SAMPLES)
        encoded = self.tokenizer.encode_prompts(list(self.asked.values()))
        cut = [ids[-self.tokenizer.max_prompt_tokens :] for ids in encoded]
        prompts = dict(zip(self.asked, cut, strict=True))
        kls = sequence_kls(policy, reference, prompts, own, self.settings.micro_batch_tokens, self.phases[KL])
        self.numbers |= kl_numbers(kls, own)

    def _warn_of_few(self, interval: str, prompts: int) -> None:
        if interval in self.numbers and prompts < FEW_CLUSTERS:
            name = interval.removesuffix("_low")
            self.step.warn(
                f"{name} comes from {prompts} prompts: its interval is too narrow. Hold out at least {FEW_CLUSTERS} prompts."
            )

    def sample_rows(self) -> Iterator[dict[str, Any]]:
        """Both sides of every duel, with the judge's scores."""
        for duel in self.duels:
            yield self._sample_row(duel, "policy", duel.policy, 0)
            yield self._sample_row(duel, "baseline", duel.baseline, 1)

    def _sample_row(self, duel: Duel, side: str, each: Sample, place: int) -> dict[str, Any]:
        index, settings = duel.policy.sample_index, self.settings
        row = {
            "completion_id": completion_id(duel.prompt_id, each.text, side, index),
            "prompt_id": duel.prompt_id,
            "prompt": [dict(message) for message in duel.prompt],
            "sample_index": index,
            "text": each.text,
            "token_ids": each.token_ids,
            "source": side,
            "finish_reason": each.finish_reason,
            "split": "heldout",
        }
        if duel.scores:
            row |= {"score": duel.scores[place], "scorer": settings.judge_function}
        if side == "policy" or settings.baseline == "reference":
            drawn = {"temperature": settings.temperature, "top_k": settings.top_k, "sampler_logp": each.logp}
            row |= {"policy": self.digests[side], **drawn}
        return row


def _heldout_prompts(path: str) -> Prompts:
    """prompt_id -> messages. Raises ArtifactError for a row of another split."""
    found: Prompts = {}
    columns: Sequence[str] = ("prompt_id", "prompt", "split")
    for number, row in enumerate(read_rows(path, (PROMPTS, PAIRS, COMPLETIONS), columns), 1):
        if row["split"] != "heldout":
            raise ArtifactError(
                f"{path} row {number}: split {row['split']}, expected heldout. Connect the held-out rows of import_data."
            )
        found[row["prompt_id"]] = row["prompt"]
    return found
