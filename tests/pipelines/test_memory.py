"""The memory estimate: its parts by hand, and against the peak of a process that really trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from preflow.errors import ModelError
from preflow.methods.catalogue import catalogue
from preflow.settings.plan import make_plan
from preflow.settings.runfile import parse_run_file
from preflow.settings.train import LoraSettings, TrainSettings
from preflow_pipelines.hardware import Hardware, RoleHardware
from preflow_pipelines.memory import RUNTIME, largest, needs, too_large, training
from preflow_pipelines.model_size import ModelSize, model_size

# Llama 2 7B
SIZE = ModelSize(6_738_415_616, 32, 4096, 11008, 4096, 4096, 32000, True, "silu", (("q_proj", 8192),))
TESTS = Path(__file__).parents[1]
FILES = (
    *("pairs.jsonl", "prompts.jsonl", "labelled.jsonl", "scored.jsonl", "negatives.jsonl", "teacher.jsonl"),
    *("forget.jsonl", "retain.jsonl", "forget_questions.jsonl", "my_scorers.py"),
)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_size_is_that_of_the_loaded_model(tmp_path: Path, family: str) -> None:
    model = tiny.tiny_network(family=family)
    model.save_pretrained(tmp_path)
    size = model_size(tmp_path)
    assert size.parameters == sum(each.numel() for each in model.parameters())
    assert (size.layers, size.hidden, size.vocabulary) == (2, 32, 400)
    assert size.gated == (family == "llama")


def test_adapter_is_that_of_peft(tmp_path: Path) -> None:
    from preflow.training.policy import _with_adapter

    tiny.tiny_network().save_pretrained(tmp_path)
    size = model_size(tmp_path)
    for targets in ("all-linear", "q_proj,down_proj"):
        adapted = _with_adapter(tiny.tiny_network(), LoraSettings(rank=3, targets=targets))
        trained = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
        assert size.adapter(3, targets) == trained


def test_a_model_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="its size cannot be read"):
        model_size(tmp_path)


def test_full_fine_tuning_of_seven_billion() -> None:
    parts = training(SIZE, TrainSettings(dtype="bfloat16"))
    weights = 2 * SIZE.parameters
    assert (parts["weights"], parts["gradients"], parts["reference"]) == (weights, weights, 0)
    assert parts["optimizer"] >= 2 * weights
    assert parts["runtime"] == RUNTIME
    float32 = training(SIZE, TrainSettings(), value=True, reference=True)
    assert float32["reference"] == 2 * weights and float32["value network"] == 4 * 2 * weights


def test_what_makes_it_smaller() -> None:
    full = training(SIZE, TrainSettings())
    checkpointing = training(SIZE, TrainSettings(gradient_checkpointing=True))
    assert checkpointing["activations"] < full["activations"] / 10
    adapter = training(SIZE, TrainSettings(lora=LoraSettings()))
    assert adapter["gradients"] == 4 * 16 * 8192 and adapter["weights"] > full["weights"]
    sharded = training(SIZE, TrainSettings(), shards=8)
    assert sharded["gradients"] == full["gradients"] / 8 and sharded["weights"] < full["weights"] / 4
    assert training(SIZE, TrainSettings(), replicas=8)["gradients"] == 2 * full["gradients"]
    assert training(SIZE, TrainSettings(optimizer="rmsprop"))["optimizer"] < full["optimizer"]
    assert training(SIZE, TrainSettings(micro_batch_tokens=512))["activations"] == full["activations"] / 8


@pytest.mark.parametrize("method", ["dpo", "rlhf", "dro", "tdpo", "kto", "npo", "sppo", "rso"])
def test_every_step_with_a_model_is_counted(method: str, tmp_path: Path) -> None:
    content = {"method": method, "model": "./model", **catalogue()[method].starter}
    for name in FILES:
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()
    found = list(needs(make_plan(parse_run_file(content), tmp_path), SIZE, Hardware()))
    assert set(largest(found)) == {"train", "generate"}
    names = {each.section for each in found}
    assert {"reward_model", "rl"} <= names if method == "rlhf" else "train" in names
    of = {each.section: each.parts for each in found}
    if method == "dro":
        assert of["train"]["value network"]
    if method in ("tdpo", "kto"):
        assert of["train"]["reference"]
    if method == "rlhf":
        assert of["rl"]["reward model"] and of["rl"]["reference"]


def test_what_cannot_fit_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    (tmp_path / "model").mkdir()

    def said(role: RoleHardware, **train: object) -> str:
        content = {"method": "dpo", "model": "./model", "data": {"pairs": "pairs.jsonl"}, "train": train}
        plan = make_plan(parse_run_file(content), tmp_path)
        return too_large(largest(list(needs(plan, SIZE, Hardware(train=role))))["train"], role) or ""

    gpu = RoleHardware(accelerator="nvidia.com/gpu", accelerator_memory="80Gi")
    small = gpu.model_copy(update={"accelerator_memory": "40Gi"})
    assert "a device has 40Gi (nvidia.com/gpu). Set train.lora" in said(small, dtype="bfloat16", micro_batch_tokens=256)
    lora = {"lora": {}, "dtype": "bfloat16"}
    assert "Lower train.micro_batch_tokens or set train.gradient_checkpointing" in said(
        gpu, **lora, micro_batch_tokens=65536
    )
    assert said(gpu, **lora, micro_batch_tokens=4096, gradient_checkpointing=True) == ""
    assert "train.memory is 8Gi" in said(gpu.model_copy(update={"memory": "8Gi"}), **lora, micro_batch_tokens=512)
    assert "train.memory is 16Gi. " in said(RoleHardware(memory="16Gi"))
    assert said(RoleHardware()) == ""


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True}, {"lora": {}}])
def test_the_estimate_meets_the_peak_of_a_process_that_trains(tmp_path: Path, settings: dict[str, object]) -> None:
    """25 million parameters: large beside torch itself, small beside a machine."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8000, hidden_size=512, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=8
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    options = TrainSettings(**settings, batch_size=8, micro_batch_tokens=1600)
    found, peak = sum(training(model_size(tmp_path), options).values()), measured(tmp_path, options, 128, 136)
    assert abs(found - peak) < 0.3 * peak, (found / 2**30, peak / 2**30)


def measured(model: Path, options: TrainSettings, prompt: int, completion: int) -> int:
    """Bytes that a process had at most while it took two optimizer steps on pairs of this length."""
    arguments = [str(model), options.model_dump_json(), str(prompt), str(completion)]
    done = subprocess.run(
        [sys.executable, str(TESTS / "training_peak.py"), *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )
    return int(json.loads(done.stdout.splitlines()[-1]))
