"""The tracking section: where runs are recorded. No step receives it, so it changes no cache key."""

from urllib.parse import urlsplit

from pydantic import field_validator

from preflow.settings.section import Section, setting


class TrackingSettings(Section):
    uri: str | None = setting(
        None, "MLflow server; none: a store of its own under PREFLOW_HOME", source="works with nothing but Python"
    )
    experiment: str = setting(
        "preflow",
        "MLflow experiment",
        source="one experiment compares best; where Kubeflow Pipelines' own MLflow plugin is on, it names the experiment",
        min_length=1,
    )
    register_as: str | None = setting(None, "register the final model under this name", source="only on request")

    @field_validator("uri")
    @classmethod
    def _holds_no_secret(cls, uri: str | None) -> str | None:
        """A run file is copied to where runs are kept."""
        if uri and "@" in urlsplit(uri).netloc:
            raise ValueError(
                "the address holds a user and password; leave out all up to the @, and set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return uri
