"""The KFP shell of `fetch_input`: on a cluster, in place of an importer, for what is not uploaded."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def fetch_input(fetched: dsl.Output[dsl.Artifact], journal: dsl.Output[dsl.Metrics], settings: str, key: str):
    """Fetch a model or data files from an object store or the model hub, in the versions that the settings name."""
    from preflow.steps.kit import running

    with running("fetch_input", settings, key, journal, {}, {"fetched": fetched}) as step:
        from preflow.steps.fetch_input.step import run

        run(step, fetched.path)
