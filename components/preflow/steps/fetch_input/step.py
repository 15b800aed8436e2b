"""Files from elsewhere, as a folder with a manifest."""

from preflow.artifacts.files import publish_folder
from preflow.artifacts.manifest import write_manifest
from preflow.artifacts.remote import RemoteFile, fetch
from preflow.settings.fetch import FetchSettings
from preflow.steps.kit import Step


def run(step: Step, fetched: str) -> None:
    """Write the files to the folder `fetched`. Raises ArtifactError for one that has changed since submission."""
    files = step.settings(FetchSettings).files
    with publish_folder(fetched) as folder:
        for number, file in enumerate(files):
            step.progress(number, len(files), "files", file.name)
            step.log(f"fetching {file.uri} {file.name}")
            fetch(RemoteFile(file.name, file.uri, file.version), folder / file.name)
        write_manifest(folder, {"fetched_from": sorted({file.uri for file in files})})
    step.progress(len(files), len(files), "files")
