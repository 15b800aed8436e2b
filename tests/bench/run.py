"""`make bench`: speed and memory with ratios, each against a named alternative on the same work in the same run."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
HERE = Path(__file__).parent
LAYERS = 6  # of SmolLM2-135M's 30: the same widths and vocabulary, a fifth of the time


def model_folder(folder: Path) -> None:
    """SmolLM2's tokenizer and shape with few layers and random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from preflow_pipelines.demo.model import demo_model
    from tiny import stage

    source = demo_model(Path(os.environ.get("PREFLOW_HOME") or ".preflow").resolve(), print)
    config = AutoConfig.from_pretrained(source)
    config.num_hidden_layers = LAYERS
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / "model" / name)
    stage(folder / "model", folder / "tokenizer", template="none", max_prompt_tokens=1024, max_completion_tokens=1024)


def training(folder: Path) -> None:
    for mode in ("precomputed", "online"):
        found = {side: _training_side(side, mode, folder) for side in ("preflow", "trl")}
        ours, theirs = found["preflow"], found["trl"]
        worst = max(abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
        print(
            f"\ntraining, reference {mode}: {len(ours['losses'])} steps of DPO, float32, {torch.get_num_threads()} threads"
        )
        for side, numbers in found.items():
            print(
                f"  {side:<8} {numbers['pairs_per_second']:6.2f} pairs/s   peak {numbers['peak_gb']:.2f} GB   losses {[round(x, 5) for x in numbers['losses']]}"
            )
        print(
            f"  ratio    {ours['pairs_per_second'] / theirs['pairs_per_second']:6.2f} x speed   {ours['peak_gb'] / theirs['peak_gb']:.2f} x memory   losses differ by {worst:.1e} at most"
        )
        assert worst < 1e-3, "the two sides did not do the same work"
    print(f"  TRL's configuration: {json.dumps(found['trl']['config'])}")


def _training_side(side: str, mode: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "training.py"), side, mode, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return dict(json.loads(line.removeprefix("RESULT ")))


def sampling(folder: Path) -> None:
    """16 prompts x 8 samples x 32 tokens at temperature 0.9, top_k 50, no stops: ours against transformers' generate."""
    from training import rows

    from preflow.models.load import load_model, use_all_cores
    from preflow.models.sampling import sample
    from preflow.text.tokenizer import Tokenizer

    use_all_cores()
    model, tokenizer = load_model(folder / "model"), Tokenizer.load(folder / "tokenizer")
    tokenizer.__dict__["stop_ids"] = frozenset()
    prompts = [(str(n), [{"role": "user", "content": row["prompt"]}]) for n, row in enumerate(rows(16))]
    encoded = tokenizer.encode_prompts([messages for _, messages in prompts])
    width = max(map(len, encoded))
    ids = torch.tensor([[tokenizer.pad_id] * (width - len(each)) + each for each in encoded])
    mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in encoded])

    def ours() -> int:
        found = sample(
            model,
            tokenizer,
            prompts,
            samples_per_prompt=8,
            temperature=0.9,
            top_k=50,
            max_new_tokens=32,
            batch_size=128,
            seed=0,
        )
        return sum(len(each.token_ids) for each in found)

    def theirs() -> int:
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                temperature=0.9,
                top_k=50,
                max_new_tokens=32,
                min_new_tokens=32,
                num_return_sequences=8,
                pad_token_id=tokenizer.pad_id,
            )
        return int((out.shape[1] - width) * out.shape[0])

    speeds = {name: _best_speed(function) for name, function in (("preflow", ours), ("generate", theirs))}
    print("\nsampling: 16 prompts x 8 samples x 32 tokens")
    for name, speed in speeds.items():
        print(f"  {name:<8} {speed:7.0f} tokens/s")
    print(f"  ratio    {speeds['preflow'] / speeds['generate']:7.2f} x generate(num_return_sequences=8)")


def _best_speed(function: Any) -> float:
    function()
    speeds = []
    for _ in range(2):
        started = time.perf_counter()
        speeds.append(function() / (time.perf_counter() - started))
    return max(speeds)


def commands(folder: Path) -> None:
    """Seconds of a fully cached run against the same run executed, and of `preflow --help` against an empty Python."""
    from journey_kit import Desk

    desk = Desk(folder / "desk")
    desk.run_file()

    def timed(*arguments: str) -> float:
        started = time.perf_counter()
        desk.call(*arguments)
        return time.perf_counter() - started

    first = timed("run", "dpo.yaml")
    time.sleep(20)  # the first run's recorder is still at work
    again = statistics.median(timed("run", "dpo.yaml") for _ in range(3))
    print(f"\ncommands: dpo workflow executed {first:.1f} s, fully cached {again:.2f} s, ratio {first / again:.0f} x")
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    empty = time.perf_counter() - started
    shown = statistics.median(timed("--help") for _ in range(5))
    print(f"  preflow --help {shown:.2f} s, an empty Python {empty:.2f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_folder(folder)
        training(folder)
        sampling(folder)
        commands(folder)


if __name__ == "__main__":
    main()
