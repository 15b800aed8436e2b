"""An objective: a sum of terms, each coefficient * reduction(loss(log-probs by role)).

A loss names what it takes in its own signature: `policy_<role>_logps`, `reference_<role>_logps`, `<role>_num_tokens`.
Reductions run over the whole optimizer batch, so their normalisers are known before any micro-batch is cut.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preflow.errors import SettingsError
from preflow.settings.train import Term
from preflow.training.streams import Stream

PAIR = ("chosen", "rejected")


@dataclass(frozen=True)
class BoundTerm:
    """A term with its loss function found and its arguments checked."""

    term: Term
    function: Callable[..., Any]
    parameters: tuple[str, ...]

    @property
    def reads_reference(self) -> bool:
        return any(name.startswith("reference_") for name in self.parameters)


def bind_terms(terms: Sequence[Term]) -> tuple[BoundTerm, ...]:
    """Find each term's loss and compare its signature with the term. Raises SettingsError, before a model is loaded."""
    return tuple(_bind(term) for term in terms)


def _bind(term: Term) -> BoundTerm:
    module, _, name = term.loss.partition(":")
    if not module.startswith("preflow."):
        raise SettingsError(f"loss {term.loss!r}: expected preflow.losses.MODULE:FUNCTION.")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise SettingsError(f"loss {term.loss!r}: no such function. Expected preflow.losses.MODULE:FUNCTION.") from None
    signature = inspect.signature(function).parameters.values()
    keywords = {each.name for each in signature if each.kind is each.KEYWORD_ONLY}
    unknown = set(term.arguments) - keywords
    if unknown:
        raise SettingsError(f"loss {term.loss}: unknown arguments {sorted(unknown)}. It takes {sorted(keywords)}.")
    parameters = tuple(each.name for each in signature if each.kind is not each.KEYWORD_ONLY)
    known = {f"{model}_{role}_logps" for model in ("policy", "reference") for role in term.roles}
    known |= {f"{role}_num_tokens" for role in term.roles}
    strange = [each for each in parameters if each not in known]
    if strange:
        raise SettingsError(f"loss {term.loss}: asks for {strange}, but the term has the roles {list(term.roles)}.")
    return BoundTerm(term, function, parameters)


@dataclass(frozen=True)
class Examples:
    """Some examples of a stream: `numbers` of the examples, `local` maps a sequence number to its place in `logps`."""

    stream: Stream
    numbers: np.ndarray
    local: Mapping[int, int]

    def sequences(self, role: str) -> list[int]:
        """Sequence numbers of a role, example after example."""
        return [int(number) for number in self.stream.roles[role][self.numbers]]

    def gather(self, logps: Tensor, role: str) -> Tensor:
        """[B]: entries of `logps` [S] for a role."""
        return logps[torch.tensor([self.local[number] for number in self.sequences(role)], device=logps.device)]

    def reference(self, role: str, like: Tensor) -> Tensor:
        return torch.as_tensor(
            self.stream.reference_logps["reference"][self.sequences(role)], dtype=like.dtype, device=like.device
        )

    def num_tokens(self, role: str, like: Tensor) -> Tensor:
        lengths = [self.stream.store.completions.length(number) for number in self.sequences(role)]
        return torch.tensor(lengths, dtype=like.dtype, device=like.device)


def normaliser(term: Term, stream: Stream, numbers: np.ndarray) -> float:
    """What a term's sum is divided by: the weights, or the tokens, of the whole optimizer batch `numbers`.

    1 where all weights are zero: the sum is zero too.
    """
    weights = stream.weight[numbers]
    if term.reduction == "token_mean":
        weights = weights * sum(_lengths(stream, role, numbers) for role in term.roles)
    return float(weights.sum()) or 1.0


def _lengths(stream: Stream, role: str, numbers: np.ndarray) -> np.ndarray:
    return np.array(
        [stream.store.completions.length(int(number)) for number in stream.roles[role][numbers]], dtype=np.float64
    )


def term_sum(bound: BoundTerm, examples: Examples, logps: Tensor) -> tuple[Tensor, Tensor]:
    """(weighted sum of the losses, the losses [B]) of some examples.

    Where a pair's preference p = P(chosen wins) is not 1, its loss is the expectation over who wins:
    p * loss(chosen, rejected) + (1 - p) * loss(rejected, chosen).
    """
    losses = _call(bound, examples, logps, {role: role for role in bound.term.roles})
    if set(PAIR) <= set(bound.term.roles):
        preference = torch.as_tensor(
            examples.stream.preference[examples.numbers], dtype=losses.dtype, device=losses.device
        )
        if bool((preference != 1).any()):
            swapped = _call(bound, examples, logps, {"chosen": "rejected", "rejected": "chosen"})
            losses = preference * losses + (1 - preference) * swapped
    weights = torch.as_tensor(examples.stream.weight[examples.numbers], dtype=losses.dtype, device=losses.device)
    return (weights * losses).sum(), losses


def _call(bound: BoundTerm, examples: Examples, logps: Tensor, roles: Mapping[str, str]) -> Tensor:
    values = []
    for name in bound.parameters:
        kind, _, rest = name.partition("_")
        if kind == "policy":
            values.append(examples.gather(logps, roles[rest.removesuffix("_logps")]))
        elif kind == "reference":
            values.append(examples.reference(roles[rest.removesuffix("_logps")], logps))
        else:
            values.append(examples.num_tokens(roles[name.removesuffix("_num_tokens")], logps))
    losses: Tensor = bound.function(*values, **bound.term.arguments)
    return losses
