"""KL(policy || reference), estimated on the policy's own samples.

Samples are drawn at temperature 1 from all tokens: the policy's own law. Along each, the exact KL between the two
next-token distributions is summed, which has the same mean as the log-ratio of the sample (chain rule) and a far
smaller variance, and never a negative term (Amini et al. 2025, arXiv 2504.10637: the Rao-Blackwellised estimator).
What is estimated is the KL between the laws of completions cut at the sampler's `max_new_tokens`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from preflow.evaluation.statistics import clustered_error
from preflow.models.packing import PackedBatch, PromptGroup, cut_by_tokens, groups_of, pack
from preflow.models.sampling import Sample
from preflow.models.sequence_logps import SequenceLogps

Progress = Callable[[int, int], None]
CHUNK_BYTES = 64 << 20


@torch.no_grad()
def sequence_kls(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    prompts: Mapping[str, Sequence[int]],
    samples: Sequence[Sample],
    micro_batch_tokens: int,
    progress: Progress = lambda done, total: None,
) -> list[float]:
    """Nats per completion: the sum over its tokens of KL(policy(. | prefix) || reference(. | prefix)).

    `prompts` holds the token ids that each sample was drawn behind, by prompt id.
    """
    ours, theirs = SequenceLogps(policy), SequenceLogps(reference)
    found = torch.zeros(len(samples), dtype=torch.float64)
    done = 0
    for groups in cut_by_tokens(_groups(prompts, samples, micro_batch_tokens), micro_batch_tokens):
        batch = pack(groups).to(policy.device)
        per_token = _token_kls(ours, theirs, batch).cpu()
        found.index_add_(0, torch.tensor(batch.indices)[batch.sequences.cpu()], per_token)
        done += len(batch.indices)
        progress(done, len(samples))
    return found.tolist()


def _groups(prompts: Mapping[str, Sequence[int]], samples: Sequence[Sample], budget: int) -> list[PromptGroup]:
    numbers: dict[str, list[int]] = {}
    for number, each in enumerate(samples):
        numbers.setdefault(each.prompt_id, []).append(number)
    return [
        group
        for prompt, each in numbers.items()
        for group in groups_of(
            prompts[prompt], ([number] for number in each), lambda number: samples[number].token_ids, budget
        )
    ]


def _token_kls(ours: SequenceLogps, theirs: SequenceLogps, batch: PackedBatch) -> Tensor:
    """[N] nats, one per completion token of the batch; logits of a few of them in memory at a time."""
    mine, other = ours.hidden_states(batch), theirs.hidden_states(batch)
    rows = max(1, CHUNK_BYTES // (8 * ours.model.config.vocab_size))
    parts = zip(mine.split(rows), other.split(rows), strict=True)
    return torch.cat([next_token_kls(ours.logits(own), theirs.logits(their)) for own, their in parts])


def next_token_kls(ours: Tensor, theirs: Tensor) -> Tensor:
    """KL(softmax(ours) || softmax(theirs)) of every row of logits [n, V]: [n] nats, float64.

    A token that the policy never writes (logit minus infinity) adds nothing. Never below zero, whatever the rounding.
    """
    p, q = ours.double().log_softmax(-1), theirs.double().log_softmax(-1)
    return torch.where(p == -torch.inf, 0.0, p.exp() * (p - q)).sum(-1).clamp(min=0)


def kl_numbers(kls: Sequence[float], samples: Sequence[Sample]) -> dict[str, float]:
    """The estimate in nats per completion with its standard error (prompts are the units), and per token."""
    mean, error = clustered_error(kls, [each.prompt_id for each in samples])
    tokens = sum(len(each.token_ids) for each in samples)
    numbers = {"eval/kl_to_reference": mean, "eval/kl_per_token": sum(kls) / tokens}
    return numbers if error is None else numbers | {"eval/kl_to_reference_se": error}
