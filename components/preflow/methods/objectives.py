"""Objectives and needs that several methods share: plain functions of the loss section."""

from preflow.methods.page import Needs
from preflow.settings.loss import loss_arguments, loss_function
from preflow.settings.section import Section
from preflow.settings.train import Term


def paired_preference(loss: Section) -> tuple[Term, ...]:
    """One term: the mean of the loss over pairs."""
    return (
        Term(
            stream="pairs",
            roles=("chosen", "rejected"),
            loss=loss_function(loss),
            arguments=loss_arguments(loss),
            reduction="example_mean",
        ),
    )


def offline_pairs(loss: Section) -> Needs:
    """Pairs that are there before training, and the reference's sums."""
    return Needs(streams={"pairs": ("chosen", "rejected")})
