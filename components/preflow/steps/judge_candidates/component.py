"""The KFP shell of `judge_candidates`."""

from kfp import dsl

from preflow.steps.images import GENERATE_IMAGE


@dsl.component(base_image=GENERATE_IMAGE, install_kfp_package=False)
def judge_candidates(
    prompts: dsl.Input[dsl.Dataset],
    completions: dsl.Input[dsl.Dataset],
    judgments: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    judge: dsl.Input[dsl.Artifact] = None,
    reward_model: dsl.Input[dsl.Model] = None,
    teacher: dsl.Input[dsl.Dataset] = None,
):
    """Compare candidates of every prompt (a teacher's answers among them): judgments/v1, a row per ordered question."""
    from preflow.steps.kit import running

    given = {"prompts": prompts, "completions": completions, "judge": judge}
    given |= {"reward_model": reward_model, "teacher": teacher}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    with running("judge_candidates", settings, key, journal, inputs, {"judgments": judgments}) as step:
        from preflow.steps.judge_candidates.step import run

        run(step, judgments=judgments.path, **{name: artifact.path for name, artifact in inputs.items()})
