"""The KFP shell of `rejection_sample`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def rejection_sample(
    scored: dsl.Input[dsl.Dataset],
    accepted: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Keep some scored completions of every prompt: the accepted ones, with their round."""
    from preflow.steps.kit import running

    inputs, outputs = {"scored": scored}, {"accepted": accepted}
    with running("rejection_sample", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.rejection_sample.step import run

        run(step, scored=scored.path, accepted=accepted.path)
