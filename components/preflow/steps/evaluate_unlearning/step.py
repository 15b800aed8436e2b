"""What a model still knows of what it was to forget, and of everything else: TOFU's metrics, beside those of the start."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from preflow.artifacts.files import write_json
from preflow.artifacts.ids import completion_id
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.evaluation.questions import (
    Knowledge,
    Question,
    read_questions,
    set_numbers,
    truth_ratios,
    utility,
    what_it_knows,
)
from preflow.evaluation.unlearning import forget_quality, rouge_l_recalls
from preflow.models.load import device, load_model, use_all_cores
from preflow.settings.unlearning import QUESTIONS, UnlearningOptions
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer

FEW_QUESTIONS = 100  # TOFU's smallest set has 40: two models can hardly be told apart by a test on so few
SIDES = {"policy": "eval/", "baseline": "eval/baseline_"}
NO_QUALITY = "no forget quality: it needs a model that never saw the forget rows. Name unlearning.retain_model."
NO_UTILITY = (
    "no model utility: it needs questions with wrong answers in unlearning.retain, real_authors and world_facts."
)


def run(
    step: Step,
    *,
    policy: str,
    reference: str,
    tokenizer: str,
    forget: str,
    answers: str,
    numbers: str,
    retained: str | None = None,
    **others: str | None,
) -> None:
    """Write the numbers (JSON) and what policy and start model answer (completions/v1, scored by ROUGE-L recall).

    `others` are the further sets of questions by name; `retained` is the model that never saw the forget rows.
    """
    settings = step.settings(UnlearningOptions)
    use_all_cores()
    measuring = _Measuring(step, settings, Tokenizer.load(tokenizer), {"forget": forget, **others})
    measuring.measure("policy", policy)
    measuring.measure("baseline", reference)
    if retained is None:
        step.warn(NO_QUALITY)
    else:
        measuring.compare(retained)
    if "eval/model_utility" not in measuring.numbers:
        step.log(NO_UTILITY)
    write_rows(answers, COMPLETIONS, measuring.rows())
    step.metrics(measuring.numbers)
    questions = {f"{name}_questions": len(each) for name, each in measuring.sets.items()}
    write_json(numbers, {**measuring.numbers, **questions}, indent=1)


class _Measuring:
    """Gathers the numbers of one model after the other: only one is in memory."""

    def __init__(self, step: Step, settings: UnlearningOptions, tokenizer: Tokenizer, paths: Mapping[str, str | None]):
        self.step, self.settings, self.tokenizer = step, settings, tokenizer
        self.numbers: dict[str, float] = {}
        self.known: dict[tuple[str, str], Knowledge] = {}
        self.sets: dict[str, list[Question]] = {}
        for name in QUESTIONS:
            path = paths.get(name)
            if path is not None:
                self.sets[name], again = read_questions(path, settings.max_questions)
                if again:
                    step.warn(f"{again} questions of {name} stand there twice; the first answer counts.")

    def measure(self, side: str, folder: str) -> None:
        """All numbers of a model, and what it answers."""
        model = load_model(folder, self.settings.dtype).to(device())
        found: dict[str, float] = {}
        for name, questions in self.sets.items():
            known = self._known(model, side, name, generate=True)
            found |= set_numbers(name, questions, known, self.settings.truth_ratio)
        found |= utility(found)
        self.numbers |= {f"{SIDES[side]}{name}": value for name, value in found.items()}

    def compare(self, folder: str) -> None:
        """Forget quality of policy and start model, against a model that never saw the forget rows."""
        mean = self.settings.truth_ratio
        model = load_model(folder, self.settings.dtype).to(device())
        oracle = truth_ratios(self._known(model, "retained", "forget", generate=False), mean)
        if not len(oracle):
            self.step.warn("no forget quality: the questions of unlearning.forget have no wrong answers.")
            return
        for side, prefix in SIDES.items():
            quality = forget_quality(truth_ratios(self.known[side, "forget"], mean), oracle)
            self.numbers[f"{prefix}forget_quality"] = quality.p_value
            self.numbers[f"{prefix}forget_ks_statistic"] = quality.statistic
        if len(oracle) < FEW_QUESTIONS:
            self.step.warn(f"forget quality comes from {len(oracle)} questions: a high p-value is cheap with so few.")

    def _known(self, model: Any, side: str, name: str, *, generate: bool) -> Knowledge:
        progress = partial(self._say, f"{name} questions, {side}")
        questions = self.sets[name]
        known = what_it_knows(model, self.tokenizer, questions, self.settings, generate=generate, progress=progress)
        self.known[side, name] = known
        return known

    def _say(self, note: str, done: int, total: int) -> None:
        self.step.progress(done, total, "sequences", note)

    def rows(self) -> Iterator[dict[str, Any]]:
        """What policy and start model answered."""
        for (side, name), known in self.known.items():
            questions = self.sets[name]
            if not known.generations:
                continue
            recalls = rouge_l_recalls(known.generations, [each.answer for each in questions])
            for question, text, recall in zip(questions, known.generations, recalls, strict=True):
                yield {
                    "completion_id": completion_id(question.prompt_id, text, f"{side} {name}"),
                    "prompt_id": question.prompt_id,
                    "prompt": question.prompt,
                    "text": text,
                    "source": side,
                    "score": recall,
                    "scorer": "rouge_l_recall",
                    "flags": [name],
                    "split": "heldout",
                }
