"""What the step `fetch_input` receives: files that are elsewhere, each with the version it had at submission."""

from preflow.settings.section import Section, setting


class RemoteFileSettings(Section):
    name: str = setting(..., "name in the folder that is made", source="the input's place")
    uri: str = setting(..., "where the file is: s3://, gs://, minio://, or hub://org/name", source="the run file")
    version: str = setting(..., "ETag, or the hub's commit", source="as it was at submission")


class FetchSettings(Section):
    files: tuple[RemoteFileSettings, ...] = setting(..., "what to fetch", source="the run file")
