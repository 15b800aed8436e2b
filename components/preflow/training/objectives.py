"""An objective: a sum of terms, each coefficient * reduction(loss(numbers of the sequences, by role)).

A loss names what it takes in its own signature (the legend stands in `preflow.losses.logps`). Reductions run over the
whole optimizer batch, so their normalisers do not depend on how micro-batches are cut.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from preflow.errors import SettingsError
from preflow.losses.coupled import Coupled
from preflow.settings.train import LOSS_FILE, Term
from preflow.training.own_loss import own_loss
from preflow.training.streams import Stream

PAIR = ("chosen", "rejected")
REFERENCE = re.compile(r"^reference_(?P<role>\w+)_logps$")
QUANTITY = re.compile(r"^(?:policy_)?(?P<role>\w+)_(?P<quantity>logps|kls|values|rewards)$")
TOKENS = re.compile(r"^(?P<role>\w+)_num_tokens$")

Source = Literal["reference", "quantity", "num_tokens", "column", "state", "draws"]


@dataclass(frozen=True)
class Argument:
    """Where a positional argument of a loss comes from: `name` is the quantity, or the example's column."""

    source: Source
    name: str
    role: str = ""


@dataclass(frozen=True)
class BoundTerm:
    """A term with its loss function found and its arguments checked."""

    term: Term
    function: Callable[..., Any]
    arguments: tuple[Argument, ...]

    def roles_of(self, source: Source, name: str | None = None) -> set[str]:
        """The stream's roles of which the loss asks for `source`."""
        return {
            self.term.roles[each.role] for each in self.arguments if each.source == source and name in (None, each.name)
        }

    @property
    def columns(self) -> set[str]:
        return {each.name for each in self.arguments if each.source == "column"}

    @property
    def quantities(self) -> set[str]:
        return {each.name for each in self.arguments if each.source == "quantity"}

    @property
    def takes_soft_labels(self) -> bool:
        """Whether the expectation over who wins can be taken outside of the loss."""
        return set(PAIR) <= set(self.term.roles) and "preferences" not in self.columns


def bind_terms(terms: Sequence[Term], loss_file: str | None = None) -> tuple[BoundTerm, ...]:
    """Find each term's loss, ours or in the user's `loss_file`, and compare its signature with the term.

    Raises SettingsError or OwnCodeError, before a model is loaded.
    """
    own = f"{LOSS_FILE}:"
    return tuple(
        bind_term(term, own_loss(term, loss_file) if loss_file and term.loss.startswith(own) else find_loss(term.loss))
        for term in terms
    )


def find_loss(name: str) -> Callable[..., Any]:
    """The function behind preflow.losses.MODULE:FUNCTION."""
    module, _, function = name.partition(":")
    if not module.startswith("preflow.losses."):
        raise SettingsError(f"loss {name!r}: expected preflow.losses.MODULE:FUNCTION.")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        raise SettingsError(f"loss {name!r}: no such function. Expected preflow.losses.MODULE:FUNCTION.") from None
    return found


def bind_term(term: Term, function: Callable[..., Any]) -> BoundTerm:
    """The term with its function, each positional parameter resolved. Raises SettingsError naming what does not fit."""
    signature = inspect.signature(function).parameters.values()
    keywords = {each.name for each in signature if each.kind is each.KEYWORD_ONLY}
    unknown = set(term.arguments) - keywords
    if unknown:
        raise SettingsError(f"loss {term.loss}: unknown arguments {sorted(unknown)}. It takes {sorted(keywords)}.")
    found = tuple(resolve(each.name, term.roles) for each in signature if each.kind is not each.KEYWORD_ONLY)
    strange = [each.role for each in found if each.role and each.role not in term.roles]
    if strange:
        raise SettingsError(f"loss {term.loss}: asks for {strange}, but the term has the roles {list(term.roles)}.")
    if term.reduction == "kept_mean" and not term.coupled:
        raise SettingsError(f"loss {term.loss}: kept_mean needs a coupled loss, which says which examples are kept.")
    return BoundTerm(term, function, found)


def resolve(name: str, roles: Mapping[str, str]) -> Argument:
    """What a positional parameter of that name stands for."""
    if name in ("state", "draws"):
        return Argument("state" if name == "state" else "draws", name)
    if match := REFERENCE.match(name):
        return Argument("reference", "logps", match["role"])
    if match := TOKENS.match(name):
        return Argument("num_tokens", "num_tokens", match["role"])
    match = QUANTITY.match(name)
    if match and (match["role"] in roles or name.startswith("policy_")):
        return Argument("quantity", match["quantity"], match["role"])
    return Argument("column", name)


@dataclass(frozen=True)
class Examples:
    """Some examples of a stream: `numbers` of the examples, `local` maps a sequence number to its column in the values.

    `quantities` names the rows of the values [Q, S].
    """

    stream: Stream
    numbers: np.ndarray
    local: Mapping[int, int]
    quantities: tuple[str, ...] = ("logps",)

    def sequences(self, role: str) -> np.ndarray:
        """Sequence numbers of a role, example after example: [B], or [B, K]."""
        return self.stream.roles[role][self.numbers]

    def gather(self, values: Tensor, quantity: str, role: str) -> Tensor:
        """[B] or [B, K]: entries of a row of `values` for a role."""
        wanted = self.sequences(role)
        places = [self.local[int(number)] for number in wanted.ravel()]
        row = values[self.quantities.index(quantity)]
        return row[torch.tensor(places, dtype=torch.long, device=values.device)].reshape(wanted.shape)

    def reference(self, role: str, like: Tensor) -> Tensor:
        return torch.as_tensor(
            self.stream.reference_of(role)[self.sequences(role)], dtype=like.dtype, device=like.device
        )

    def num_tokens(self, role: str, like: Tensor) -> Tensor:
        return torch.as_tensor(self.stream.lengths(role, self.numbers), dtype=like.dtype, device=like.device)

    def column(self, name: str, like: Tensor) -> Tensor:
        values = self.stream.columns[name][self.numbers]
        dtype = torch.bool if values.dtype == np.bool_ else like.dtype
        return torch.as_tensor(values, dtype=dtype, device=like.device)

    def preference(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.stream.preference[self.numbers], dtype=like.dtype, device=like.device)

    def weight(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.stream.weight[self.numbers], dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class Batchwise:
    """What a coupled loss may take beside the examples: its state from before this batch, and uniforms [B]."""

    state: Mapping[str, float] = field(default_factory=dict)
    draws: np.ndarray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class TermValue:
    """`total` is the weighted sum of the kept losses, `losses` [B] all of them, `kept` the sum of the kept weights."""

    total: Tensor
    losses: Tensor
    kept: float
    state: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def normaliser(term: Term, stream: Stream, numbers: np.ndarray) -> float:
    """What a term's sum is divided by: the weights, or the tokens, of the whole optimizer batch `numbers`.

    1 where all weights are zero: the sum is zero too.
    """
    weights = stream.weight[numbers]
    if term.reduction == "token_mean":
        lengths = sum(stream.lengths(role, numbers).reshape(len(numbers), -1).sum(1) for role in term.roles.values())
        weights = weights * lengths
    return float(weights.sum()) or 1.0


def evaluate_term(
    bound: BoundTerm, examples: Examples, values: Tensor, batchwise: Batchwise | None = None
) -> TermValue:
    """A term on some examples, from the `values` [Q, S] of their sequences.

    Where a pair's preference p = P(chosen wins) is not 1, its loss is the expectation over who wins:
    p * loss(chosen, rejected) + (1 - p) * loss(rejected, chosen).
    """
    batchwise = batchwise or Batchwise()
    roles = dict(bound.term.roles)
    found = _call(bound, examples, values, roles, batchwise)
    soft = bound.takes_soft_labels and bool((examples.stream.preference[examples.numbers] != 1).any())
    if isinstance(found, Coupled):
        if soft:
            raise SettingsError(
                f"loss {bound.term.loss} takes hard preferences, but pairs with a preference below 1 were found. "
                "Import them with data.duplicates: keep, or choose another loss."
            )
        weights = examples.weight(found.losses)
        weights = weights if found.weights is None else weights * found.weights
        return TermValue((weights * found.losses).sum(), found.losses, float(weights.sum()), found.state, found.metrics)
    losses: Tensor = found
    if soft:
        preference = examples.preference(losses)
        swapped = _call(bound, examples, values, roles | {"chosen": roles["rejected"], "rejected": roles["chosen"]})
        losses = preference * losses + (1 - preference) * swapped
    weights = examples.weight(losses)
    return TermValue((weights * losses).sum(), losses, float(weights.sum()))


def _call(
    bound: BoundTerm,
    examples: Examples,
    values: Tensor,
    roles: Mapping[str, str],
    batchwise: Batchwise | None = None,
) -> Any:
    batchwise = batchwise or Batchwise()
    swapped = roles != bound.term.roles
    given: list[Any] = []
    for each in bound.arguments:
        if each.source == "quantity":
            given.append(examples.gather(values, each.name, roles[each.role]))
        elif each.source == "reference":
            given.append(examples.reference(roles[each.role], values))
        elif each.source == "num_tokens":
            given.append(examples.num_tokens(roles[each.role], values))
        elif each.source == "column":
            given.append(examples.column(_other_side(each.name) if swapped else each.name, values))
        elif each.source == "state":
            given.append(batchwise.state)
        else:
            given.append(torch.as_tensor(batchwise.draws, dtype=values.dtype, device=values.device))
    return bound.function(*given, **bound.term.arguments)


def _other_side(column: str) -> str:
    """The column of the other side of a pair: chosen_scores for rejected_scores."""
    for side, other in (PAIR, PAIR[::-1]):
        if column.startswith(f"{side}_"):
            return other + column.removeprefix(side)
    return column
