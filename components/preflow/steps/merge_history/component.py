"""The KFP shell of `merge_history`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def merge_history(
    pairs: dsl.Input[dsl.Dataset],
    earlier: dsl.Input[dsl.Dataset],
    merged: dsl.Output[dsl.Dataset],
    history: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """A round's new pairs with a sample of the `earlier` ones (`merged`), and all pairs so far (`history`)."""
    from preflow.steps.kit import running

    inputs, outputs = {"pairs": pairs, "earlier": earlier}, {"merged": merged, "history": history}
    with running("merge_history", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.merge_history.step import run

        run(step, **{name: artifact.path for name, artifact in (inputs | outputs).items()})
