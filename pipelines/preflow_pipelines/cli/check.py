"""`preflow check`: everything that can fail, on the CPU, before it is paid for."""

import contextlib
import importlib
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from preflow.errors import DataError, PreflowError, Problem, SettingsError
from preflow_pipelines.cli.options import home, json_option, print_json, run_file_argument, set_option


@click.command()
@run_file_argument
@set_option
@json_option
def command(run_file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check RUNFILE: its settings, its model and tokenizer, its scorer and judge, and every row of its data.

    No model is loaded. Problems name the file, the row and the fix; exit code 2 if there are any. What the steps need of
    memory is estimated, and held against the hardware profile.

    \b
    Examples:
      preflow check dpo.yaml
      preflow check dpo.yaml --json | jq .problems
    """
    memory = report_problems(run_file, overrides, as_json)
    if as_json:
        print_json({"ok": True, "problems": [], "total": 0, "memory": [asdict(need) for need in memory]})
    else:
        click.echo(f"{run_file}: ok")


def report_problems(
    run_file: Path, overrides: tuple[str, ...], as_json: bool, pods_have: Collection[str] | None = None
) -> list[Any]:
    """Print the problems of a run file and leave with 2. Where there are none: what each role needs of memory at most.

    For pods, which have these variables by secrets, rows and weights that lie elsewhere are left to the steps that read
    them, and a library that only their images may have is said and no problem.
    """
    with contextlib.redirect_stdout(sys.stderr):  # files of the user's may print when they are loaded
        problems, total, memory = _collect(run_file, overrides, pods_have)
    if not as_json:
        for need in memory:
            click.echo(f"memory of {need.role}: {need}", err=True)
    if not total:
        return memory
    if as_json:
        found = [problem.as_dict() for problem in problems]
        print_json({"ok": False, "problems": found, "total": total, "memory": [asdict(need) for need in memory]})
    else:
        for problem in problems:
            click.echo(str(problem), err=True)
        if total > len(problems):
            click.echo(f"... and {total - len(problems)} more.", err=True)
        click.echo(f"{run_file}: {total} problem{'s' * (total > 1)}")
    raise click.exceptions.Exit(2)


def _collect(
    run_file: Path, overrides: tuple[str, ...], pods_have: Collection[str] | None
) -> tuple[list[Problem], int, list[Any]]:
    """The first problems of every part, how many there are in all, and each role's largest need of memory."""
    from preflow.settings.plan import make_plan
    from preflow.settings.runfile import load_run_file
    from preflow_pipelines.hardware import load_hardware

    try:
        parsed = load_run_file(run_file, overrides)
        hardware = load_hardware(parsed.hardware, run_file.parent)
        plan = make_plan(parsed, run_file.parent.resolve())
    except PreflowError as error:
        found = [_problem(run_file, "settings", line) for line in str(error).splitlines()]
        return found, len(found), []
    problems: list[Problem] = []
    memory: list[Any] = []
    total = 0
    for part in _parts(plan, hardware, memory, pods_have):
        try:
            part()
        except DataError as error:
            problems += error.problems
            total += error.total
        except PreflowError as error:
            problems.append(_problem(run_file, type(error).__name__, str(error)))
            total += 1
    return problems, total, memory


def _problem(run_file: Path, code: str, text: str) -> Problem:
    """What is no row's: the text's last sentence is its fix."""
    found, stop, fix = text.removeprefix(f"{run_file}: ").removeprefix(f"{run_file.name}: ").rpartition(". ")
    return Problem(str(run_file), 0, code, (found + stop).strip() or fix, fix if found else "Mend it and check again.")


def _parts(plan: Any, hardware: Any, memory: list[Any], pods_have: Collection[str] | None) -> Iterator[Any]:
    """The checks, each a function that raises. What is fetched or copied goes where a run would put it."""
    from preflow.models.judge_llm import read_key
    from preflow.models.judges import MatrixJudge
    from preflow.settings.pairs import RULE_FILE
    from preflow.settings.train import LOSS_FILE
    from preflow.steps.import_data.facts import Facts
    from preflow.text.stage import stage_tokenizer
    from preflow_pipelines.enough import lacking
    from preflow_pipelines.runners.inputs import open_store
    from preflow_pipelines.runners.remote import is_remote

    with tempfile.TemporaryDirectory() as folder, open_store(home(), lambda text: click.echo(text, err=True)) as store:
        model: list[Path] = []
        facts: dict[str, Facts] = {}
        left = {name for name, spec in plan.inputs.items() if pods_have is not None and is_remote(spec)}
        yield lambda: model.append(store.local_model(plan.inputs["model"].source, weights="model" not in left))
        for each in model:  # none where it was not found
            yield lambda each=each: _check_model(each, "model" in left)
            yield lambda each=each: stage_tokenizer(each, folder, plan.inputs["tokenizer"].source["text"])
        tokenizer = Path(folder) if (Path(folder) / "text.json").is_file() else None
        for each in model if tokenizer and "model" not in left else ():  # else it is said already what is wrong
            yield lambda each=each: memory.extend(_estimate(plan, each, hardware))
            yield from (lambda need=need: _check_fits(need, hardware) for need in memory)
        for spec in (spec for name, spec in plan.inputs.items() if name not in left):
            if spec.kind == "files":
                section = "data" if spec.name == "data_files" else spec.name.replace("_files", "_data")
                yield lambda spec=spec, section=section: facts.update(
                    {section: _check_data(store, spec.source, plan.sections[section], tokenizer)}
                )
            elif spec.kind == "model" and spec.name != "model":
                yield lambda spec=spec: _check_model(store.local_model(spec.source))
        yield from (lambda text=text: _refuse(text) for text in lacking(plan.run_file, facts))
        if LOSS_FILE in plan.inputs:
            yield lambda: _check_loss(plan)
        where = _check_function if pods_have is None else _check_function_of_pods
        for name in ("scorer", "judge", "pair_judge", RULE_FILE):
            spec = plan.inputs.get(name)
            if spec and spec.source and spec.source.endswith(".json"):
                yield lambda spec=spec: MatrixJudge.load(spec.source)
            elif spec and spec.source:
                yield lambda name=name, spec=spec: where(name, *spec.source.rpartition(":")[::2])
        if plan.run_file.judge and plan.run_file.judge.endpoint:
            variable = plan.run_file.judge.endpoint.key_variable
            yield lambda: read_key(variable) if pods_have is None else _check_secret(variable, pods_have)


def _refuse(text: str) -> None:
    raise SettingsError(text)


def _estimate(plan: Any, model: Path, hardware: Any) -> Any:
    """By role, the step that needs most memory."""
    from preflow_pipelines.memory import largest, needs
    from preflow_pipelines.model_size import model_size

    return largest(list(needs(plan, model_size(model), hardware))).values()


def _check_fits(need: Any, hardware: Any) -> None:
    from preflow_pipelines.memory import too_large

    if text := too_large(need, getattr(hardware, need.role)):
        raise SettingsError(f"hardware: {text}")


def _check_loss(plan: Any) -> None:
    """The objective with the user's own loss, bound as training binds it."""
    from preflow.settings.train import TrainSettings
    from preflow.training.objectives import bind_terms

    bind_terms(
        TrainSettings.parse(plan.sections["train"]).objective, plan.inputs["loss_file"].source.rpartition(":")[0]
    )


def _check_function(name: str, place: str, function: str) -> None:
    """A function of the user's own, loaded as its step loads it."""
    from preflow.models.scorers import JUDGE, SCORER, load_scorer
    from preflow.settings.pairs import RULE_FILE
    from preflow.steps.build_pairs.own_rule import load_rule

    if name == RULE_FILE:
        load_rule(place, function)
        return
    load = load_scorer if place.endswith(".py") else _load_from_module
    load(place, function, JUDGE if name == "pair_judge" else SCORER)


def _check_function_of_pods(name: str, place: str, function: str) -> None:
    try:
        _check_function(name, place, function)
    except PreflowError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        click.echo(f"not checked here: {error} The pods' image must have it (containers/README.md).", err=True)


def _check_secret(variable: str | None, pods_have: Collection[str]) -> None:
    if variable and variable not in pods_have:
        raise SettingsError(
            f"judge.endpoint.key_variable: pods have no {variable}. Expected it among the context's secrets. Add it: "
            f"preflow context add ... --secret {variable}=SECRET/KEY"
        )


def _load_from_module(name: str, function: str, takes: Sequence[str]) -> None:
    """What a step does by a file of one line, here with words about the module."""
    from preflow.errors import ScorerError
    from preflow.models.own_code import MISTAKES, expect_parameters

    try:
        module = importlib.import_module(name)
    except MISTAKES as error:
        said = f"{name}:{function}: the module cannot be imported ({type(error).__name__}: {error})"
        raise ScorerError(f"{said}. Install it, or name a file of yours: FILE.py:FUNCTION.") from error
    if not callable(getattr(module, function, None)):
        raise ScorerError(f"{name}:{function}: the module has no function {function!r}. Name one that it has.")
    expect_parameters(getattr(module, function), takes, f"{name}:{function}", ScorerError)


def _check_model(folder: Path, without_weights: bool = False) -> None:
    from preflow.errors import ModelError

    if not (folder / "config.json").is_file() or not (without_weights or list(folder.glob("*.safetensors"))):
        raise ModelError(
            f"{folder}: expected config.json and *.safetensors. Save the model there with transformers' save_pretrained."
        )


def _check_data(store: Any, source: dict[str, list[str]], section: str, tokenizer: Path | None) -> Any:
    """What the rows are together. Raises DataError for rows that are wrong."""
    from preflow.settings.data import ImportSettings
    from preflow.steps.import_data.importing import SourceFile, check_files
    from preflow.text.tokenizer import Tokenizer

    files = [
        SourceFile(store.local_file(path), path, "heldout" if split == "heldout" else None)
        for split, paths in source.items()
        for path in paths
    ]
    settings = ImportSettings.parse(section)
    return check_files(files, settings, Tokenizer.load(tokenizer) if tokenizer else None, _say_rows)


def _say_rows(done: int) -> None:
    """A line per hundred thousand rows."""
    if done % 102_400 == 0:
        click.echo(f"{done:,} rows checked", err=True)
