"""The KFP shell of `import_data`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def import_data(
    files: dsl.Input[dsl.Artifact],
    tokenizer: dsl.Input[dsl.Artifact],
    data: dsl.Output[dsl.Dataset],
    heldout: dsl.Output[dsl.Dataset],
    rejects: dsl.Output[dsl.Artifact],
    numbers: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Check, split and convert the user's files: training rows, held-out rows, rejects (JSONL) and the data report."""
    from preflow.steps.kit import running

    inputs = {"files": files, "tokenizer": tokenizer}
    outputs = {"data": data, "heldout": heldout, "rejects": rejects, "numbers": numbers, "page": page}
    with running("import_data", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.import_data.step import run

        sources = {name: artifact.path for name, artifact in inputs.items()}
        run(step, **sources, **{name: artifact.path for name, artifact in outputs.items()})
