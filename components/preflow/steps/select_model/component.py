"""The KFP shell of `select_model`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def select_model(
    first: dsl.Input[dsl.Model],
    first_numbers: dsl.Input[dsl.Artifact],
    first_train_journal: dsl.Input[dsl.Metrics],
    second: dsl.Input[dsl.Model],
    second_numbers: dsl.Input[dsl.Artifact],
    second_train_journal: dsl.Input[dsl.Metrics],
    trained: dsl.Output[dsl.Model],
    numbers: dsl.Output[dsl.Artifact],
    train_journal: dsl.Output[dsl.Metrics],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Keep the better of two models by a number of their evaluations, with those numbers and its training's journal."""
    from preflow.steps.kit import running

    inputs = {"first": first, "first_numbers": first_numbers, "first_train_journal": first_train_journal}
    inputs |= {"second": second, "second_numbers": second_numbers, "second_train_journal": second_train_journal}
    outputs = {"trained": trained, "numbers": numbers, "train_journal": train_journal}
    with running("select_model", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.select_model.step import run

        run(step, **{name: artifact.path for name, artifact in (inputs | outputs).items()})
