"""KL(policy || reference), estimated on the policy's own samples.

Samples are drawn at temperature 1 from all tokens: the policy's own law. Along each, the exact KL between the two
next-token distributions is summed, which has the same mean as the log-ratio of the sample (chain rule) and a far
smaller variance, and never a negative term (Amini et al. 2025, arXiv 2504.10637: the Rao-Blackwellised estimator).
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from preflow.evaluation.statistics import clustered_error
from preflow.models.sampling import Sample
from preflow.text.tokenizer import Tokenizer

Progress = Callable[[int, int], None]


@torch.inference_mode()
def sequence_kls(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: dict[str, list[int]],
    samples: Sequence[Sample],
    progress: Progress = lambda done, total: None,
) -> list[float]:
    """Nats per completion: the sum over its tokens of KL(policy(. | prefix) || reference(. | prefix))."""
    found = []
    for done, each in enumerate(samples, 1):
        prompt = prompts[each.prompt_id][-tokenizer.max_prompt_tokens :]
        ids = torch.tensor([prompt + each.token_ids], device=policy.device)
        keep = len(each.token_ids) + 1
        ours, theirs = (
            model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0, :-1].float().log_softmax(-1)
            for model in (policy, reference)
        )
        found.append(float((ours.exp() * (ours - theirs)).sum().clamp(min=0)))
        progress(done, len(samples))
    return found


def kl_numbers(kls: Sequence[float], samples: Sequence[Sample]) -> dict[str, float]:
    """The estimate in nats per completion with its standard error (prompts are the units), and per token."""
    mean, error = clustered_error(kls, [each.prompt_id for each in samples])
    tokens = sum(len(each.token_ids) for each in samples)
    numbers = {"eval/kl_to_reference": mean, "eval/kl_per_token": sum(kls) / tokens}
    return numbers | ({"eval/kl_to_reference_se": error} if error == error else {})
