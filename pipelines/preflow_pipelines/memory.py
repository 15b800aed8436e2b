"""What the steps that hold a model need of memory, before one of them is paid for. Needs no torch.

Counted are weights, gradients, the optimizer's state, what the backward pass keeps of the forward pass (activations), the
logits of a chunk, a reference model beside the policy, a value network, a reward model inside of reinforcement learning,
keys and values while sampling, and the process itself. Batches are taken to be full (`micro_batch_tokens`, `batch_size`,
the longest prompts and completions that the run file allows), so short rows need less. Not counted: rows of the data, what
a function of the user's own holds, holes between allocations (an adapter on a CPU leaves some). Every model is taken to
be as large as the run's.
Activations are those of a decoder of the Llama kind with fused attention, others come near; measured on a CPU, the peak of
a train step is met within a third (tests/pipelines/test_memory.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from preflow.settings.evaluate import EvaluateSettings
from preflow.settings.generate import GenerateSettings
from preflow.settings.judge import JudgeSettings
from preflow.settings.reference import ReferenceSettings
from preflow.settings.reward_model import RewardModelSettings
from preflow.settings.rl import RLSettings
from preflow.settings.score import ScoreSettings
from preflow.settings.train import TrainOptions, TrainSettings
from preflow.settings.unlearning import UnlearningOptions
from preflow_pipelines.hardware import Hardware, RoleHardware
from preflow_pipelines.model_size import ModelSize
from preflow_pipelines.quantities import gibibytes, number_of

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
RUNTIME = 0.75 * 2**30
"""torch and transformers in a process (measured: 0.5 GiB), or a device's context with its libraries."""
CHUNK = 128 << 20
"""Logits that are made at once, as preflow.models.sequence_logps has it (which imports torch)."""
COPIES = 3
"""A chunk of logits, its exponentials, its slopes."""


@dataclass(frozen=True)
class Need:
    """Bytes by part, on every device of the step (or in the pod, where it has none), and in the pod beside the devices."""

    role: str
    section: str
    parts: Mapping[str, float]
    host: float

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {gibibytes(size)}" for name, size in self.parts.items() if size >= 2**20)
        return f"{self.section} needs about {gibibytes(self.total)} ({parts})"


def training(
    size: ModelSize,
    settings: TrainOptions,
    *,
    shards: int = 1,
    replicas: int = 1,
    head: bool = True,
    value: bool = False,
    reference: bool = False,
) -> dict[str, float]:
    """Parts of a training step, per device. `shards` devices share weights, gradients and optimizer (FSDP); of `replicas`
    each has all of them, and the buckets that gradients are exchanged in (DDP). `head`: whether logits are made."""
    width, lora = WIDTH[settings.dtype], settings.lora
    trained = 4 * size.adapter(lora.rank, lora.targets) if lora else width * size.parameters  # an adapter is float32
    network = width * size.parameters if value else 0.0
    states = {"adamw": 2, "rmsprop": 1}[settings.optimizer]
    learned = trained + network
    largest = width * max(size.parameters / max(1, size.layers), size.vocabulary * size.hidden)
    kept = _kept(size, settings) * (2 if value else 1)
    logits = _logits(size, settings.micro_batch_tokens, trained=lora is None) if head else 0.0
    moved = max(0.0, learned / shards - kept - logits)  # what the optimizer writes down between two numbers
    return {
        "weights": (width * size.parameters + (trained if lora else 0)) / shards + (2 * largest if shards > 1 else 0),
        "gradients": trained / shards * (2 if replicas > 1 else 1),
        "optimizer": states * trained / shards + moved,
        "activations": kept,
        "logits": logits,
        "reference": width * size.parameters if reference else 0.0,
        "value network": network * (2 + states) / shards,
        "runtime": RUNTIME,
    }


def _kept(size: ModelSize, settings: TrainOptions) -> float:
    """What one forward pass leaves for its backward pass: of every layer, or of every layer's input and one layer."""
    width, tokens = WIDTH[settings.dtype], settings.micro_batch_tokens
    norms = 2 * (4 + 2 * width) * size.hidden  # a norm computes in float32
    attention = 5 * width * size.query_width
    each = {"gelu_new": 5}.get(size.activation, 4 if size.gated else 2)
    layer = norms + attention + each * width * size.intermediate
    if settings.lora and width < 4:  # an adapter reads its input in float32: a copy for each of seven matrices
        layer += 4 * (5 * size.hidden + size.query_width + size.intermediate)
    top = 6 * width * size.hidden
    if settings.gradient_checkpointing:
        return float(tokens * (size.layers * width * size.hidden + layer + top))
    return float(tokens * (size.layers * layer + top))


def _logits(size: ModelSize, tokens: int, *, trained: bool = False) -> float:
    """A chunk with its copies; the slope of the head's weights."""
    rows = min(tokens, max(1, CHUNK // (4 * size.vocabulary)))
    return float(COPIES * 4 * rows * size.vocabulary + (4 * size.vocabulary * size.hidden if trained else 0))


def reading(size: ModelSize, dtype: str, tokens: int, *, models: int = 1, head: bool = True) -> dict[str, float]:
    """Parts of a step that runs models forward only."""
    width = WIDTH[dtype]
    return {
        "weights": float(models * width * size.parameters),
        "activations": float(tokens * width * (4 * size.hidden + 3 * size.intermediate)),
        "logits": _logits(size, tokens) if head else 0.0,
        "runtime": RUNTIME,
    }


def sampling(
    size: ModelSize, dtype: str, *, sequences: int, samples: int, prompt: int, new: int, top_k: int, models: int = 1
) -> dict[str, float]:
    """Parts of a step that samples `sequences` at once, `samples` of each prompt, behind prompts of `prompt` tokens."""
    width, prompts = WIDTH[dtype], max(1, sequences // samples)
    sequences = prompts * samples
    layer = 2 * width * size.key_width * (prompt + new) * sequences
    return {
        "weights": float(models * width * size.parameters),
        "keys and values": float((size.layers + 1) * layer),  # one layer's are copied to grow
        "activations": float(prompts * prompt * width * (4 * size.hidden + 3 * size.intermediate)),
        "logits": float(
            sequences * size.vocabulary * (8 if 0 < top_k < size.vocabulary else 32)
        ),  # all tokens: float64
        "runtime": RUNTIME,
    }


def needs(plan: Any, size: ModelSize, hardware: Hardware) -> Iterator[Need]:
    """What every step of the plan that holds a model needs, of a model of this size."""
    run, sections, prompt = plan.run_file, plan.sections, plan.run_file.text.max_prompt_tokens
    for section, text in sections.items():
        kind = section.rstrip("0123456789").rstrip("_")
        if kind in ("sft", "retain_model", "train", "train_control"):
            options = TrainSettings.parse(text)
            more = _beside(run, options) if kind.startswith("train") else {}
            yield _trains(section, size, options, hardware, **more)
        elif kind == "reward_model":
            yield _trains(section, size, RewardModelSettings.parse(text), hardware, head=False)
        elif kind == "reference":
            found = ReferenceSettings.parse(text)
            yield _need("train", section, reading(size, found.dtype, found.micro_batch_tokens))
        elif kind == "rl":
            yield _reinforces(section, size, RLSettings.parse(text), hardware, prompt)
        else:
            yield from _generates(section, kind, text, size, prompt)


def _beside(run: Any, options: TrainOptions) -> dict[str, bool]:
    """Models beside the policy: a value network; a reference that is asked while training, which an adapter's base can be."""
    loss = run.loss
    online = loss.distributions or any("mismatched" in term.roles.values() for term in loss.terms())
    apart = bool(loss.distributions and run.rounds and run.rounds.reference == "start")
    return {"value": loss.values, "reference": online and (options.lora is None or apart)}


def _need(role: str, section: str, parts: Mapping[str, float], saved: float = 0.0) -> Need:
    """The pod reads the weights before a device has them, and holds what is `saved` while it writes it."""
    return Need(role, section, parts, RUNTIME + max(parts["weights"], saved))


def _trains(section: str, size: ModelSize, options: TrainOptions, hardware: Hardware, **more: bool) -> Need:
    parts = training(size, options, **_shares(options, hardware.train), **more)  # type: ignore[arg-type]
    return _need("train", section, parts, saved=parts["optimizer"] + parts["value network"] / 2)


def _shares(options: TrainOptions, role: RoleHardware) -> dict[str, int]:
    """The devices of the role share one copy, or have one each."""
    count = role.accelerator_count if role.accelerator else 1
    return {"shards" if getattr(options, "parallel", "ddp") == "fsdp" else "replicas": count}


def _reinforces(section: str, size: ModelSize, options: RLSettings, hardware: Hardware, prompt: int) -> Need:
    """It samples while weights and optimizer are there, and trains: the larger of both."""
    alone = options.lora is None
    scored = WIDTH[options.score.dtype] * size.parameters if options.score.module.endswith(".reward_model") else 0
    trains = training(
        size,
        options,
        **_shares(options, hardware.train),  # type: ignore[arg-type]
        value=options.algorithm == "ppo",
        reference=alone,
    )
    samples = sampling(
        size,
        options.dtype,
        sequences=options.sampling_batch_size,
        samples=options.samples_per_prompt,
        prompt=prompt,
        new=options.max_new_tokens,
        top_k=0,
    )
    resting = ("weights", "optimizer", "reference", "value network", "runtime")
    while_sampling = {name: trains[name] for name in resting} | {
        name: samples[name] for name in ("keys and values", "activations", "logits")
    }
    parts = max(trains, while_sampling, key=lambda each: sum(each.values())) | {"reward model": float(scored)}
    return _need("train", section, parts, saved=parts["optimizer"])


def _generates(section: str, kind: str, text: str, size: ModelSize, prompt: int) -> Iterator[Need]:
    if kind == "generate":
        own = GenerateSettings.parse(text)
        yield _need("generate", section, _samples(size, own, own.candidates_per_prompt, prompt))
    elif kind == "score" and (score := ScoreSettings.parse(text)).module.endswith(".reward_model"):
        yield _need("generate", section, reading(size, score.dtype, score.micro_batch_tokens, head=False))
    elif kind == "judge" and JudgeSettings.parse(text).kind == "reward_model":
        yield _need("generate", section, reading(size, "float32", 4096, head=False))
    elif kind in ("evaluate", "evaluate_round"):
        yield _evaluates(section, size, EvaluateSettings.parse(text), prompt)
    elif kind == "unlearning":
        asked = UnlearningOptions.parse(text)
        yield _need("generate", section, reading(size, asked.dtype, asked.micro_batch_tokens, models=2))


def _evaluates(section: str, size: ModelSize, own: EvaluateSettings, prompt: int) -> Need:
    """Policy and reference are both there while either samples or reads."""
    found = [reading(size, own.dtype, own.micro_batch_tokens, models=2)]
    if own.samples_per_prompt:
        found.append(_samples(size, own, own.samples_per_prompt, prompt, models=2))
    if own.kl_samples_per_prompt:
        all_tokens = own.model_copy(update={"top_k": 0})
        found.append(_samples(size, all_tokens, own.kl_samples_per_prompt, prompt, models=2))
    return _need("generate", section, max(found, key=lambda each: sum(each.values())))


def _samples(size: ModelSize, own: Any, samples: int, prompt: int, models: int = 1) -> dict[str, float]:
    return sampling(
        size, own.dtype, sequences=own.batch_size, samples=samples, prompt=prompt, new=own.max_new_tokens,
        top_k=own.top_k, models=models,
    )  # fmt: skip


def largest(found: list[Need]) -> dict[str, Need]:
    """By role, the step that needs most."""
    return {need.role: need for need in sorted(found, key=lambda need: need.total)}


def too_large(need: Need, role: RoleHardware) -> str | None:
    """Why a step cannot fit into what its role's hardware gives, with a fix; None where it can, or nobody said what there is."""
    limit = role.memory_limit or role.memory
    if role.accelerator:
        if role.accelerator_memory and need.total > number_of(role.accelerator_memory):
            return f"{need}, and a device has {role.accelerator_memory} ({role.accelerator}). {_fix(need)}"
        if limit and need.host > number_of(limit):
            asked = f"{need.section} needs about {gibibytes(need.host)} beside the device, to read and save weights"
            return f"{asked}, and {need.role}.memory is {limit}. Raise it in the hardware profile."
        return None
    if limit and need.total > number_of(limit):
        return f"{need}, and {need.role}.memory is {limit}. {_fix(need)}"
    return None


def _fix(need: Need) -> str:
    """What is largest and changes no result comes first."""
    section = need.section.rstrip("0123456789").rstrip("_").removesuffix("_control").removesuffix("_round")
    most = max(need.parts, key=lambda name: need.parts[name])
    if most == "runtime":
        return "Choose larger hardware."
    if most in ("keys and values", "logits") and need.role == "generate":
        return f"Lower {section}.batch_size, which changes no result, or choose larger hardware."
    if most in ("activations", "logits"):
        more = (
            f" or set {section}.gradient_checkpointing: true" if need.role == "train" and section != "reference" else ""
        )
        return f"Lower {section}.micro_batch_tokens{more}, which change no result beyond rounding, or choose larger hardware."
    if "gradients" in need.parts:
        return f"Set {section}.lora: {{}}, which trains an adapter only, or choose larger hardware."
    return f"Set {section}.dtype: bfloat16, or choose larger hardware."
