"""The KFP shell of `convert`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def convert(
    data: dsl.Input[dsl.Dataset],
    converted: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Make rows of another kind: labelled completions, unwanted ones or demonstrations of pairs, labels of scores, prompts."""
    from preflow.steps.kit import running

    with running("convert", settings, key, journal, {"data": data}, {"converted": converted}) as step:
        from preflow.steps.convert.step import run

        run(step, data=data.path, converted=converted.path)
