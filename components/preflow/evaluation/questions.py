"""Questions with a right answer and wrong ones, and what a model makes of them: the ground of TOFU's metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.evaluation.unlearning import (
    UTILITY_PARTS,
    answer_probability,
    choice_probability,
    forget_truth_ratio,
    log_truth_ratios,
    mean_nlls,
    model_utility,
    rouge_l_recalls,
    utility_truth_ratio,
)
from preflow.models.sampling import sample
from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.unlearning import UnlearningOptions
from preflow.text.tokenizer import Tokenizer
from preflow.training.reference import online_logps
from preflow.training.streams import SequenceStore

CHOICES = ("real_authors", "world_facts")
"""Sets whose probability is that of the right answer among all answers; elsewhere it is the right one's own."""
Progress = Callable[[int, int], None]
TruthRatio = Literal["geometric", "arithmetic"]


@dataclass
class Question:
    """A prompt with its answer; the paraphrases are other wordings of it, the perturbed answers are wrong."""

    prompt_id: str
    prompt: list[dict[str, str]]
    answer: str
    paraphrased: list[str] = field(default_factory=list)
    perturbed: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [self.answer, *self.paraphrased, *self.perturbed]


@dataclass(frozen=True)
class Knowledge:
    """What a model makes of questions: nats per token of each answer, [N] or a list of [M]; greedy `generations` if asked for.

    `paraphrased` is the answer's own number where a question has no paraphrase, the mean where it has several.
    """

    answers: np.ndarray
    paraphrased: np.ndarray
    perturbed: list[np.ndarray]
    generations: list[str]


def read_questions(path: str, limit: int | None) -> tuple[list[Question], int]:
    """(the first `limit` questions by prompt hash, how many rows ask one of them again): the first answer of each counts."""
    found: dict[str, Question] = {}
    again = 0
    for row in read_rows(path, COMPLETIONS, ("prompt_id", "prompt", "text", "source")):
        if row["source"] == "answer":
            again += row["prompt_id"] in found
            found.setdefault(row["prompt_id"], Question(row["prompt_id"], row["prompt"], row["text"]))
        else:
            question = found[row["prompt_id"]]
            (question.paraphrased if row["source"] == "paraphrased" else question.perturbed).append(row["text"])
    return [found[each] for each in sorted(found)[:limit]], again


def what_it_knows(
    model: Any,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    settings: UnlearningOptions,
    *,
    generate: bool,
    progress: Progress = lambda done, total: None,
) -> Knowledge:
    """Log-probs of all answers, and what the model writes itself (greedily) if `generate`."""
    nlls = _answer_nlls(model, tokenizer, questions, settings, progress)
    generations: dict[str, str] = {}
    if generate:
        found = sample(
            model,
            tokenizer,
            [(each.prompt_id, each.prompt) for each in questions],
            samples_per_prompt=1,
            temperature=1.0,
            top_k=1,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            seed=0,
            progress=progress,
        )
        generations = {each.prompt_id: each.text for each in found}
    answers, paraphrased, perturbed = [], [], []
    for question, each in zip(questions, nlls, strict=True):
        right = 1 + len(question.paraphrased)
        answers.append(each[0])
        paraphrased.append(each[1:right].mean() if right > 1 else each[0])
        perturbed.append(each[right:])
    texts = [generations[each.prompt_id] for each in questions] if generate else []
    return Knowledge(np.array(answers), np.array(paraphrased), perturbed, texts)


def _answer_nlls(
    model: Any, tokenizer: Tokenizer, questions: Sequence[Question], settings: UnlearningOptions, progress: Progress
) -> list[np.ndarray]:
    """Nats per token of every text of every question."""
    store, numbers = SequenceStore(), []
    prompts = tokenizer.encode_prompts([each.prompt for each in questions])
    completions = iter(tokenizer.encode_completions([text for each in questions for text in each.texts]))
    for question, prompt in zip(questions, prompts, strict=True):
        cut = [tokenizer.truncated(prompt, next(completions)) for _ in question.texts]
        numbers.append([store.add(each.prompt_ids, each.completion_ids) for each in cut])
    logps, _ = online_logps(
        SequenceLogps(model),
        store,
        micro_batch_tokens=settings.micro_batch_tokens,
        device=model.device,
        progress=progress,
    )
    nlls = mean_nlls(logps, [store.completions.length(number) for number in range(len(store))])
    return [nlls[each] for each in numbers]


def truth_ratios(known: Knowledge, mean: TruthRatio) -> np.ndarray:
    """log R of the questions that have wrong answers."""
    pairs = zip(known.paraphrased, known.perturbed, strict=True)
    found = [log_truth_ratios([right], [wrong], mean=mean)[0] for right, wrong in pairs if len(wrong)]
    return np.array(found)


def set_numbers(name: str, questions: Sequence[Question], known: Knowledge, mean: TruthRatio) -> dict[str, float]:
    """`<set>_probability`, `<set>_rouge` and `<set>_truth_ratio`, as far as the questions allow them."""
    numbers = {}
    if name in CHOICES:
        choices = [
            choice_probability([own], [wrong])
            for own, wrong in zip(known.answers, known.perturbed, strict=True)
            if len(wrong)
        ]
        if choices:
            numbers[f"{name}_probability"] = float(np.mean(choices))
    else:
        numbers[f"{name}_probability"] = answer_probability(known.answers)
    if known.generations:
        recalls = rouge_l_recalls(known.generations, [each.answer for each in questions])
        numbers[f"{name}_rouge"] = float(np.mean(recalls))
    ratios = truth_ratios(known, mean)
    if len(ratios):
        aggregate = forget_truth_ratio if name == "forget" else utility_truth_ratio
        numbers[f"{name}_truth_ratio"] = aggregate(ratios)
    return numbers


def utility(numbers: dict[str, float]) -> dict[str, float]:
    """`model_utility`, where all nine of its parts are there."""
    if not set(UTILITY_PARTS) <= numbers.keys():
        return {}
    return {"model_utility": model_utility([numbers[part] for part in UTILITY_PARTS])}
