"""The tracking section: where runs are recorded. No step receives it, so it changes no cache key."""

from preflow.settings.section import Section, setting


class TrackingSettings(Section):
    uri: str | None = setting(
        None, "MLflow server; none: a store of its own under PREFLOW_HOME", source="works with nothing but Python"
    )
    experiment: str = setting("preflow", "MLflow experiment", source="one experiment compares best", min_length=1)
    register_as: str | None = setting(None, "register the final model under this name", source="only on request")
