"""Reference log-probs: one forward pass over every unique sequence, kept by sequence id."""

from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import SEQUENCE_LOGPS
from preflow.artifacts.manifest import read_manifest
from preflow.models.check import check_model
from preflow.models.load import device, load_model, use_all_cores
from preflow.models.sequence_logps import SequenceLogps
from preflow.settings.reference import ReferenceSettings
from preflow.steps.kit import Step
from preflow.text.tokenizer import Tokenizer
from preflow.training.loading import add_samples
from preflow.training.reference import online_logps
from preflow.training.streams import stream_of


def run(step: Step, *, data: str, model: str, tokenizer: str, logps: str, samples: str | None = None) -> None:
    """Write sequence_logps/v1 for every sequence of `data` (pairs/v1 or completions/v1), and of `samples` of its prompts."""
    settings = step.settings(ReferenceSettings)
    use_all_cores()
    contract = Tokenizer.load(tokenizer)
    stream = stream_of(data, contract, lambda done: step.progress(done, None, "rows tokenized"))
    if samples:
        add_samples(stream, samples, contract)
    reference = load_model(model, settings.dtype).to(device())
    check_model(reference)
    step.log(f"{len(stream.store)} unique sequences of {len(stream)} examples")
    sums, tokens = online_logps(
        SequenceLogps(reference),
        stream.store,
        micro_batch_tokens=settings.micro_batch_tokens,
        device=device(),
        progress=lambda done, total: step.progress(done, total, "sequences"),
        per_token=True,
    )
    rows = (
        {
            "sequence_id": identity,
            "logp": float(total),
            "token_logps": [float(each) for each in parts],
            "num_tokens": len(parts),
        }
        for identity, total, parts in zip(stream.store.ids, sums, tokens, strict=True)
    )
    write_rows(logps, SEQUENCE_LOGPS, rows, {"model": read_manifest(model).digest, "dtype": settings.dtype})
    step.fact("sequences", len(stream.store))
    step.fact("prompts_truncated", stream.prompt_cut)
    step.fact("completions_truncated", stream.completion_cut)
