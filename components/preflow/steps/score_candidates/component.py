"""The KFP shell of `score_candidates`."""

from kfp import dsl

from preflow.steps.images import GENERATE_IMAGE


@dsl.component(base_image=GENERATE_IMAGE, install_kfp_package=False)
def score_candidates(
    prompts: dsl.Input[dsl.Dataset],
    completions: dsl.Input[dsl.Dataset],
    scorer: dsl.Input[dsl.Artifact],
    scored: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    teacher: dsl.Input[dsl.Dataset] = None,
):
    """Score every completion (a teacher's among them) by `scorer`, a function's file or a reward model: completions/v1."""
    from preflow.steps.kit import running

    given = {"prompts": prompts, "completions": completions, "scorer": scorer, "teacher": teacher}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    with running("score_candidates", settings, key, journal, inputs, {"scored": scored}) as step:
        from preflow.steps.score_candidates.step import run

        run(step, scored=scored.path, **{name: artifact.path for name, artifact in inputs.items()})
