"""The unlearning section: how much a model still knows, by the metrics of TOFU, on questions with right and wrong answers."""

from typing import Literal

from preflow.settings.generate import DType
from preflow.settings.more_data import Files
from preflow.settings.section import Section, setting
from preflow.settings.train import TrainOptions

QUESTIONS = ("forget", "retain", "real_authors", "world_facts")
"""The sets of questions; model utility is over the last three."""


class UnlearningOptions(Section):
    """What the step `evaluate_unlearning` receives."""

    truth_ratio: Literal["geometric", "arithmetic"] = setting(
        "geometric",
        "mean of the wrong answers' probabilities: the official code's, or the paper's",
        source="published numbers are the code's",
    )
    max_questions: int | None = setting(
        None, "questions of each set, the first by prompt hash", source="all of them, as open-unlearning takes", ge=1
    )
    max_new_tokens: int = setting(200, "longest generation, decoded greedily", source="open-unlearning", ge=1)
    batch_size: int = setting(64, "sequences decoded at once", source="memory", ge=1)
    micro_batch_tokens: int = setting(4096, "tokens per forward pass", source="memory", ge=1)
    dtype: DType = setting("float32", "weights and activations", source="exact on every device")


class RetainModelSection(TrainOptions):
    """A model that never saw the forget rows: fine-tuned on the retain rows alone, as the run's model was on all."""

    model: str = setting(..., "what the run's model was fine-tuned from: folder, hub id or s3:// URI", source="yours")
    learning_rate: float = setting(1e-5, "peak", source="TOFU", gt=0.0)
    batch_size: int = setting(32, "examples per optimizer step", source="TOFU", ge=1)
    epochs: int = setting(5, "passes over the retain rows", source="TOFU", ge=1)
    schedule: Literal["constant", "linear", "cosine"] = setting("linear", "after the warm-up", source="TOFU")
    warmup_ratio: float = setting(
        0.2, "linear warm-up as a share of all steps", source="TOFU: the first of five epochs", ge=0.0, le=1.0
    )
    weight_decay: float = setting(0.01, "decoupled", source="TOFU", ge=0.0)


class UnlearningSection(UnlearningOptions):
    """Questions are rows with question, answer, and where there are any paraphrased_answer and perturbed_answer."""

    forget: Files = setting(..., "files with questions on what is to be forgotten", source="yours")
    retain: Files | None = setting(None, "files with questions on what is to be kept", source="none")
    real_authors: Files | None = setting(None, "files with questions close to the forgotten ones", source="none")
    world_facts: Files | None = setting(None, "files with questions on everything else", source="none")
    retain_model: RetainModelSection | None = setting(
        None, "train it for comparison: forget quality is how well the two cannot be told apart", source="none"
    )

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """The files of every set of questions that is there."""
        named = {name: getattr(self, name) for name in QUESTIONS}
        return {name: files for name, files in named.items() if files is not None}
