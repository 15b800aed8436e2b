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
):
    """Score every completion with a function of the file `scorer`: completions/v1 with scores."""
    from preflow.steps.kit import running

    inputs, outputs = {"prompts": prompts, "completions": completions, "scorer": scorer}, {"scored": scored}
    with running("score_candidates", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.score_candidates.step import run

        run(step, prompts=prompts.path, completions=completions.path, scorer=scorer.path, scored=scored.path)
