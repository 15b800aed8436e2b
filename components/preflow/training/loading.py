"""What a training step reads: its streams, their references from artifacts, and the checks that need no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preflow.artifacts.io import read_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.errors import ArtifactError, SettingsError
from preflow.selection.grouping import by_prompt
from preflow.text.tokenizer import Tokenizer
from preflow.training.mismatched import ROLE as MISMATCHED
from preflow.training.objectives import BoundTerm
from preflow.training.reference import stored_logps
from preflow.training.streams import Progress, Stream, stream_of

SELF_SAMPLE, BEST = "self_sample", "best"


@dataclass(frozen=True)
class TrainingInputs:
    """Paths of the artifacts a training step is given.

    `data` sets the pace, `companion` is the second stream (retain rows, SFT targets); `samples` are the policy's own
    completions of the data's prompts; `logps` and `sample_logps` are the reference's; `reference` is the model that is
    asked online, the start model where there is none; `loss_file` a Python file with the loss, where it is none of ours.
    """

    data: str
    model: str
    tokenizer: str
    logps: str | None = None
    companion: str | None = None
    samples: str | None = None
    sample_logps: str | None = None
    reference: str | None = None
    loss_file: str | None = None


def load_streams(
    inputs: TrainingInputs, terms: Sequence[BoundTerm], tokenizer: Tokenizer, progress: Progress
) -> dict[str, Stream]:
    """The streams that the terms name, the data first. Raises SettingsError, ArtifactError, DataError."""
    paths = {"data": inputs.data, "companion": inputs.companion}
    named = [name for name in paths if name == "data" or any(bound.term.stream == name for bound in terms)]
    streams = {}
    for name in named:
        path = paths[name]
        if path is None:
            raise SettingsError(f"the objective reads the stream {name!r}, but the workflow brings none.")
        streams[name] = stream_of(path, tokenizer, progress)
        if not len(streams[name]):
            raise SettingsError(f"{path}: no training rows. Lower data.heldout_fraction, or look at the data report.")
    if inputs.samples:
        add_samples(streams["data"], inputs.samples, tokenizer)
    if any(BEST in bound.term.roles.values() for bound in terms):
        add_best(streams["data"])
    for bound in terms:
        _check_term(bound, streams[bound.term.stream])
        _read_references(bound, streams[bound.term.stream], inputs)
    return streams


def add_samples(stream: Stream, path: str, tokenizer: Tokenizer) -> None:
    """Give every row the role `self_sample`: K sampled completions of its prompt, [N, K]."""
    groups = by_prompt(read_rows(path, COMPLETIONS))
    missing = [prompt for prompt in stream.prompt_ids if prompt not in groups]
    if missing:
        raise ArtifactError(f"{path}: no samples of prompt {missing[0]}. Expected samples of the data's own prompts.")
    count = min(len(group) for group in groups.values())
    numbers: dict[str, list[int]] = {}
    for prompt in dict.fromkeys(stream.prompt_ids):
        rows = groups[prompt][:count]
        ids = tokenizer.encode_prompts([rows[0]["prompt"]])[0]
        found = [tokenizer.truncated(ids, row["token_ids"]) for row in rows]
        numbers[prompt] = [stream.store.add(each.prompt_ids, each.completion_ids) for each in found]
    stream.roles[SELF_SAMPLE] = np.array([numbers[prompt] for prompt in stream.prompt_ids], dtype=np.int64)


def add_best(stream: Stream) -> None:
    """Give every pair the role `best`: the best candidate of its prompt, among those that the prompt's pairs show.

    By score where pairs have scores; else the chosen text that no pair rejects, as the winner of a tournament is none; where
    several are like that, the pair's own chosen one.
    """
    chosen, rejected, scores = stream.roles["chosen"], stream.roles["rejected"], stream.columns.get("chosen_scores")
    rows_of: dict[str, list[int]] = {}
    for row, prompt in enumerate(stream.prompt_ids):
        rows_of.setdefault(prompt, []).append(row)
    best = chosen.copy()
    for rows in rows_of.values():
        unbeaten = set(chosen[rows].tolist()) - set(rejected[rows].tolist())
        if scores is not None:
            best[rows] = chosen[max(rows, key=lambda row: scores[row])]
        elif len(unbeaten) == 1:
            best[rows] = unbeaten.pop()
    stream.roles[BEST] = best


def _check_term(bound: BoundTerm, stream: Stream) -> None:
    roles = set(bound.term.roles.values()) - {MISMATCHED}
    if missing := sorted(roles - set(stream.roles)):
        raise SettingsError(
            f"loss {bound.term.loss}: needs the roles {missing}, but the data has {sorted(stream.roles)}. "
            "Give it data of the kind that `preflow methods NAME` names."
        )
    if missing := sorted(bound.columns - set(stream.columns)):
        raise SettingsError(
            f"loss {bound.term.loss}: needs {missing} in every row, but the data has {sorted(stream.columns) or 'none'}."
        )


def _read_references(bound: BoundTerm, stream: Stream, inputs: TrainingInputs) -> None:
    """Stored reference log-probs of the roles that the loss asks for; the mismatched pairs are asked online."""
    for role in bound.roles_of("reference") - {MISMATCHED}:
        own = role == SELF_SAMPLE and inputs.sample_logps is not None
        name, path = (role, inputs.sample_logps) if own else ("reference", inputs.logps)
        if path is None:
            raise SettingsError(f"loss {bound.term.loss}: needs reference log-probs, but the workflow brings none.")
        stream.references[role] = name
        values = stored_logps(path, stream.store, np.unique(stream.roles[role]))
        stream.reference_logps[name] = _merged(stream.reference_logps.get(name), values)


def _merged(before: np.ndarray | None, found: np.ndarray) -> np.ndarray:
    return found if before is None else np.where(np.isnan(found), before, found)


def standardise_scores(streams: Mapping[str, Stream]) -> dict[str, float]:
    """Shift and scale the data's scores to mean 0 and deviation 1 (ddof 0; DRO, section 4); returns what held-out scores need."""
    scores = streams["data"].columns["scores"]
    mean, deviation = float(scores.mean()), float(scores.std())
    if deviation == 0:
        raise SettingsError(f"all {len(scores)} scores are {mean:g}. Expected scores that differ.")
    streams["data"].columns["scores"] = (scores - mean) / deviation
    return {"score_mean": mean, "score_std": deviation}
