"""Candidates: N samples of every prompt, kept with their token ids, finish reason and the sampler's log-probs."""

from collections.abc import Iterator
from typing import Any

from preflow.artifacts.ids import completion_id, content_id, shard_of
from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.artifacts.manifest import read_manifest
from preflow.artifacts.prompts import read_prompts
from preflow.errors import DataError, Problem
from preflow.models.load import device, load_model, use_all_cores
from preflow.models.sampling import Sample, sample
from preflow.settings.generate import GenerateSettings
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer

Prompts = dict[str, list[dict[str, str]]]


def run(step: Step, *, prompts: str, model: str, tokenizer: str, completions: str) -> None:
    """Write completions/v1 sampled from `model` for every prompt of `prompts`."""
    settings = step.settings(GenerateSettings)
    use_all_cores()
    asked = of_shard(read_prompts(prompts), settings.shard, settings.shards)
    if not asked:
        raise DataError([_nothing_to_sample(prompts, settings)])
    policy = read_manifest(model).digest
    samples = sample(
        load_model(model, settings.dtype).to(device()),
        Tokenizer.load(tokenizer),
        [(each, _steered(messages, settings.instruction)) for each, messages in asked.items()],
        samples_per_prompt=settings.candidates_per_prompt,
        temperature=settings.temperature,
        top_k=settings.top_k,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        seed=int(content_id("generate", settings.seed, settings.round)[:12], 16) if settings.round else settings.seed,
        progress=lambda done, total: step.progress(done, total, "samples"),
    )
    tally = {"tokens": 0, "length": 0}
    rows = write_rows(completions, COMPLETIONS, _rows(samples, settings, policy, asked, tally), {"policy": policy})
    step.fact("prompts", len(asked))
    step.fact("completions", rows)
    step.fact("tokens", tally["tokens"])
    step.fact("unfinished_share", tally["length"] / rows)


def _nothing_to_sample(prompts: str, settings: GenerateSettings) -> Problem:
    if settings.shards == 1:
        return Problem(prompts, 0, "no_prompts", "no training prompts.", "Lower data.heldout_fraction, or add prompts.")
    found = f"no training prompts in share {settings.shard + 1} of {settings.shards}; prompts fall into shares by their hash."
    return Problem(prompts, 0, "no_prompts", found, "Add prompts, ask for fewer rounds, or set rounds.prompts to all.")


def of_shard(prompts: Prompts, shard: int, shards: int) -> Prompts:
    """The prompts of a share: each prompt belongs to one, by its id, whatever else is there."""
    return {each: messages for each, messages in prompts.items() if shard_of(each, shards) == shard}


def _steered(messages: list[dict[str, str]], instruction: str | None) -> list[dict[str, str]]:
    """The prompt as the sampler sees it; what is trained on later is the prompt alone."""
    if instruction is None:
        return messages
    if messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{instruction}\n{messages[0]['content']}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def _rows(
    samples: Iterator[Sample], settings: GenerateSettings, policy: str, asked: Prompts, tally: dict[str, int]
) -> Iterator[dict[str, Any]]:
    for each in samples:
        tally["tokens"] += len(each.token_ids)
        tally["length"] += each.finish_reason == "length"
        yield {
            "completion_id": completion_id(each.prompt_id, each.text, policy, each.sample_index),
            "prompt_id": each.prompt_id,
            "prompt": asked[each.prompt_id],
            "sample_index": each.sample_index,
            "text": each.text,
            "token_ids": each.token_ids,
            "source": "policy",
            "finish_reason": each.finish_reason,
            "policy": policy,
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "sampler_logp": each.logp,
            "sampler_token_logps": list(each.token_logps),
            "split": "train",
        }
