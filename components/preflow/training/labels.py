"""Are the labels that a loss weighs balanced as its rule wants them?"""

from collections.abc import Iterator, Mapping, Sequence

from preflow.selection.imbalance import UPPER_VERSION_1, weight_intervals, weights_fit
from preflow.training.objectives import BoundTerm
from preflow.training.streams import Stream

LABEL = "desirable"


def label_warnings(terms: Sequence[BoundTerm], streams: Mapping[str, Stream]) -> Iterator[str]:
    """A sentence for every term that weighs desirable and undesirable completions against KTO's rule, or has one kind only."""
    for bound in terms:
        if LABEL not in bound.columns:
            continue
        labels = streams[bound.term.stream].columns[LABEL]
        good, bad = int(labels.sum()), int((~labels).sum())
        weights = [float(bound.term.arguments.get(f"{side}desirable_weight", 1.0)) for side in ("", "un")]
        if not good or not bad:
            kind = "desirable" if good else "undesirable"
            yield f"all {len(labels):,} training completions are {kind}: no weight makes up for that. Add the others."
        elif not weights_fit(good, bad, *weights):
            ratio = weights[0] * good / (weights[1] * bad)
            allowed = weight_intervals(good, bad)
            yield (
                f"{good:,} desirable and {bad:,} undesirable completions: desirable_weight * desirable over "
                f"undesirable_weight * undesirable is {ratio:.3g}, expected 1 to {UPPER_VERSION_1:.3g}. Set "
                f"loss.desirable_weight to {_interval(allowed.desirable_weight)} and the other to 1, or "
                f"loss.undesirable_weight to {_interval(allowed.undesirable_weight)}."
            )


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.3g} to {bounds[1]:.3g}"
