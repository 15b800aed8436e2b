"""Whether packed log-probs are the model's own: asked of every model before it is trained or taken as a reference."""

import torch
from transformers import PreTrainedModel

from preflow.errors import ModelError
from preflow.models.packing import PromptGroup, pack
from preflow.models.sequence_logps import SequenceLogps

TOLERANCE = {torch.float32: 5e-4, torch.float64: 5e-4}
COARSE = 0.2  # of half precision
LENGTHS = (8, 24, 8)  # prompt, two completions: long enough for a bias by distance to show


@torch.no_grad()
def check_model(model: PreTrainedModel) -> None:
    """Compare packed log-probs with the model's own logits, on a few tokens. Raises ModelError for a model that does more
    with its hidden states than attend and project (state-space layers, biases by distance, a head of its own)."""
    size = model.get_output_embeddings().weight.shape[0]
    tokens = iter((7 * number + 3) % size for number in range(sum(LENGTHS)))
    prompt, first, second = ([next(tokens) for _ in range(length)] for length in LENGTHS)
    try:
        found = SequenceLogps(model)(pack([PromptGroup(prompt, (first, second), (0, 1))]).to(model.device))[0]
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _unsupported(model, f"packed sequences cannot be read ({error})") from None
    for completion, logp in zip((first, second), found, strict=True):
        ids = torch.tensor([prompt + completion], device=model.device)
        own = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)[0, len(prompt) - 1 : -1]
        expected = own.gather(-1, ids[0, len(prompt) :, None]).sum()
        tolerance = TOLERANCE.get(model.dtype, COARSE)
        if not torch.isclose(logp.float(), expected, rtol=tolerance, atol=tolerance):
            found_is = f"log-probs of packed sequences are {logp.item():.4f}, the model's own {expected.item():.4f}"
            raise _unsupported(model, found_is)


def _unsupported(model: PreTrainedModel, found: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__}: {found}. This architecture is not supported; "
        "expected a decoder with causal self-attention and a linear head. Take another model."
    )
