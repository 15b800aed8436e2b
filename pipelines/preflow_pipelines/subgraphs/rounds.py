"""Rounds: the policy is sampled, its samples are compared, it is trained on the comparison; then the next one.

They are unrolled when the pipeline is compiled: each round has its own share of the prompts and its own draws.
"""

from typing import Any

from preflow.steps.generate_candidates.component import generate_candidates
from preflow.steps.merge_history.component import merge_history
from preflow.steps.select_model.component import select_model
from preflow_pipelines.subgraphs.context import Context
from preflow_pipelines.subgraphs.on_policy_pairs import compared
from preflow_pipelines.subgraphs.train_and_evaluate import measure, report_on, stored, train


def play_rounds(run: Context, prompts: Any, teacher: Any = None, reward_model: Any = None) -> list[Any]:
    """The training task of every round. `teacher` answers the same prompts, and is compared with the policy's samples;
    `reward_model` is who scores or judges, where the run file says so."""
    model, tasks, history = run.input("model"), [], None
    for turn in run.rounds:
        sampled = generate_candidates(
            prompts=prompts,
            model=model,
            tokenizer=run.input("tokenizer"),
            settings=run.section(f"generate_{turn}"),
            key="",
        )
        new = compared(run, prompts, sampled.outputs["completions"], teacher, reward_model)
        data, history = with_history(run, turn, new, history)
        tasks.append(train(run, data, model, logps=_start_logps(run, data), reference=_online(run)))
        model = tasks[-1].outputs["trained"]
    return tasks


def with_history(run: Context, turn: int, new: Any, earlier: Any) -> tuple[Any, Any]:
    """(what the round trains on, all pairs so far): without history both are the round's own pairs."""
    if turn == 0 or not run.has(f"history_{turn}"):
        return new, new
    merged = merge_history(pairs=new, earlier=earlier, settings=run.section(f"history_{turn}"), key="")
    return merged.outputs["merged"], merged.outputs["history"]


def _start(run: Context) -> Any:
    """The start model, where each round is held against it; None where it is the round's own sampler."""
    rounds = run.plan.run_file.rounds
    return run.input("model") if rounds and rounds.reference == "start" else None


def _online(run: Context) -> Any:
    """The start model, where a loss looks at its distributions and each round is held against it."""
    return _start(run) if run.loss.distributions else None


def _start_logps(run: Context, data: Any) -> Any:
    """Its log-probs, where the loss takes stored ones."""
    start = _start(run)
    return stored(run, data, start) if start is not None and run.loss.needs_reference else None


def report_on_rounds(run: Context, tasks: list[Any], heldout: Any) -> None:
    """Measure the model of the last round, or of the best one, and put it on the run's page."""
    model, journal = tasks[-1].outputs["trained"], tasks[-1].outputs["journal"]
    if run.has("select"):
        model, journal = best_of(run, tasks, heldout)
    report_on(run, model, journal, heldout)


def best_of(run: Context, tasks: list[Any], heldout: Any) -> tuple[Any, Any]:
    """(model, its training's journal) of the best round: each one is compared with the best of those before."""
    best: dict[str, Any] = {}
    for task in tasks:
        measured = measure(run, task.outputs["trained"], heldout, section="evaluate_round")
        found = {
            "trained": task.outputs["trained"],
            "numbers": measured.outputs["numbers"],
            "train_journal": task.outputs["journal"],
        }
        best = _better(run, best, found) if best else found
    return best["trained"], best["train_journal"]


def _better(run: Context, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    chosen = select_model(
        first=first["trained"],
        first_numbers=first["numbers"],
        first_train_journal=first["train_journal"],
        second=second["trained"],
        second_numbers=second["numbers"],
        second_train_journal=second["train_journal"],
        settings=run.section("select"),
        key="",
    )
    return dict(chosen.outputs)
