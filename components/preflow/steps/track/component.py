"""The KFP shell of `track`: the last task of every run on a cluster, never reused."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def track(settings: str, key: str):
    """Record the run in MLflow, reused steps included, whether somebody waits for it or not."""
    from preflow.steps.track.step import run

    run()
