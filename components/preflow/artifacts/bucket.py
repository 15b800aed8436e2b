"""An object store as steps and the command line use it: names below one URI, read and written whole.

    <bucket>/artifacts/              what Kubeflow Pipelines stores of each run (the pipeline root)
    <bucket>/inputs/<sha256>...      what enters workflows from outside, by content
    <bucket>/runs/<id>/...           what a run says about itself, file for file a run's folder
    <bucket>/steps/<lineage>.json    the record of the last execution of a step with these inputs, settings and code
    <bucket>/checkpoints/<lineage>/  of trainings that are not over

Credentials come from the environment, as every S3 client takes them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...).
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.files import publish_file, publish_folder
from preflow.errors import BucketError

SCHEMES = ("minio", "s3", "gs")
CONNECT_SECONDS, REQUEST_SECONDS, ATTEMPTS = 5.0, 60.0, 3
CHUNK = 1 << 24  # bytes per write: an S3 store takes parts of 5 MiB and more
URI, ENDPOINT = "PREFLOW_BUCKET", "PREFLOW_BUCKET_ENDPOINT"
"""The environment of a pod: where the bucket is."""


@dataclass(frozen=True)
class Entry:
    """An object: its name below the bucket's URI, bytes, and when it was written (epoch seconds, the store's clock)."""

    name: str
    size: int
    modified: float


class Bucket:
    """`uri` is scheme://bucket[/prefix]; `endpoint` the store's address where it is not the scheme's own."""

    def __init__(self, uri: str, endpoint: str | None = None):
        scheme, separator, place = uri.rstrip("/").partition("://")
        if not separator or scheme not in SCHEMES or not place:
            raise BucketError(f"bucket {uri!r}: expected {'://, '.join(SCHEMES)}://, then a bucket. Mend the address.")
        if scheme == "minio" and not endpoint:
            raise BucketError(f"bucket {uri}: expected the endpoint of the store, e.g. http://minio:9000. Name it.")
        self.uri, self.endpoint, self._place = f"{scheme}://{place}", endpoint, place
        self._files = _filesystem(scheme, endpoint)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Bucket | None":
        """The bucket of the pod this runs in; None outside of a cluster."""
        return cls(environment[URI], environment.get(ENDPOINT)) if environment.get(URI) else None

    def uri_of(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def name_of(self, uri: str) -> str:
        """The name of an object of this bucket by its URI, whatever its scheme says. Raises BucketError for another's."""
        _, _, place = uri.partition("://")
        if not place.startswith(f"{self._place}/"):
            raise BucketError(
                f"{uri}: lies outside of the bucket {self.uri}. Expected what a run of this context wrote."
            )
        return place.removeprefix(f"{self._place}/")

    def check(self) -> None:
        """Raises BucketError unless the bucket is there and may be listed."""
        from pyarrow import fs

        with self._named(""):
            # First the one whose answer says what is wrong: the other has a status and no words.
            self._files.get_file_info(fs.FileSelector(self._place, allow_not_found=True))
            found = self._files.get_file_info(self._place.partition("/")[0])
            if found.type == fs.FileType.NotFound:
                raise BucketError(f"bucket {self.uri}: there is no such bucket. Make it, or name another one.")

    def read(self, name: str) -> bytes | None:
        """An object's bytes; None if it is not there."""
        with self._named(name):
            try:
                with self._files.open_input_stream(f"{self._place}/{name}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def read_json(self, name: str) -> Any:
        """An object that holds JSON; None if it is not there."""
        content = self.read(name)
        return None if content is None else json.loads(content)

    def write(self, name: str, content: bytes) -> None:
        with self._named(name), self._files.open_output_stream(f"{self._place}/{name}") as stream:
            stream.write(content)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value, ensure_ascii=False, indent=1).encode())

    def entries(self, prefix: str) -> list[Entry]:
        """All objects below the "folder" `prefix`, sorted by name; [] if there are none."""
        from pyarrow import fs

        with self._named(prefix):
            selector = fs.FileSelector(f"{self._place}/{prefix}".rstrip("/"), recursive=True, allow_not_found=True)
            found = [info for info in self._files.get_file_info(selector) if info.type == fs.FileType.File]
        described = (Entry(each.path.removeprefix(f"{self._place}/"), each.size, each.mtime_ns / 1e9) for each in found)
        return sorted(described, key=lambda entry: entry.name)

    def names(self, prefix: str) -> list[str]:
        """The names directly below `prefix`, of objects and "folders" alike, without the prefix."""
        from pyarrow import fs

        with self._named(prefix):
            selector = fs.FileSelector(f"{self._place}/{prefix}".rstrip("/"), allow_not_found=True)
            return sorted(info.base_name for info in self._files.get_file_info(selector))

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name, or one below it."""
        from pyarrow import fs

        with self._named(name):
            return bool(self._files.get_file_info(f"{self._place}/{name}").type != fs.FileType.NotFound)

    def version(self, name: str) -> str | None:
        """What tells an object's content from another one under the same name (its ETag); None if it is not there."""
        with self._named(name):
            try:
                with self._files.open_input_stream(f"{self._place}/{name}") as stream:
                    facts = {key.lower(): value for key, value in (stream.metadata() or {}).items()}
            except FileNotFoundError:
                return None
        found = facts.get(b"etag") or facts.get("etag") or b""
        return (found.decode() if isinstance(found, bytes) else str(found)).strip('"')

    def upload(self, source: Path, name: str) -> None:
        """A file, or a folder's files, under `name`. A folder's manifest.json comes last: where it is, all is."""
        if source.is_file():
            self._upload_file(source, name)
            return
        files = sorted(each for each in source.rglob("*") if each.is_file())
        for each in sorted(files, key=lambda file: file == source / "manifest.json"):
            self._upload_file(each, f"{name}/{each.relative_to(source).as_posix()}")

    def download(self, name: str, target: Path) -> None:
        """An object, or all below a "folder", to `target`, which appears whole. Raises BucketError if there is nothing."""
        inside = self.entries(name)
        if inside:
            with publish_folder(target) as folder:
                for entry in inside:
                    place = folder / entry.name.removeprefix(f"{name}/")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    self._download_file(entry.name, place)
            return
        with publish_file(target) as temporary:
            self._download_file(name, temporary)

    def delete(self, name: str) -> None:
        """An object, or all below a "folder" ("" for everything), its manifest.json first. What is not there is no error."""
        from pyarrow import fs

        path = f"{self._place}/{name}".rstrip("/")
        with self._named(name):
            kind = self._files.get_file_info(path).type
            if kind == fs.FileType.File:
                self._files.delete_file(path)
            elif kind == fs.FileType.Directory:
                with contextlib.suppress(FileNotFoundError):
                    self._files.delete_file(f"{path}/manifest.json")
                inside = self._files.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
                folders = [path, *(each.path for each in inside if each.type == fs.FileType.Directory)]
                for folder in sorted(folders, key=len, reverse=True):  # a store with real folders wants them empty
                    with contextlib.suppress(FileNotFoundError):
                        self._files.delete_dir(folder)  # with the empty object that stands for it

    def _upload_file(self, source: Path, name: str) -> None:
        with self._named(name), source.open("rb") as file:
            with self._files.open_output_stream(f"{self._place}/{name}") as stream:
                while chunk := file.read(CHUNK):
                    stream.write(chunk)

    def _download_file(self, name: str, target: Path) -> None:
        with self._named(name):
            try:
                with self._files.open_input_stream(f"{self._place}/{name}") as stream, target.open("wb") as file:
                    while chunk := stream.read(CHUNK):
                        file.write(chunk)
            except FileNotFoundError:
                raise BucketError(
                    f"{self.uri_of(name)}: is not there. Expected what a run wrote. Was it deleted? Run the file again."
                ) from None

    def _named(self, name: str) -> "_Named":
        return _Named(self.uri_of(name) if name else self.uri, self.endpoint)


class _Named:
    """Says of a store's error which object it was about, and what to do."""

    def __init__(self, uri: str, endpoint: str | None):
        self.uri, self.endpoint = uri, endpoint

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise BucketError(f"{self.uri}: {explain_error(str(error), self.endpoint)}") from None


IN_A_POD = "A pod has those of the context's bucket_secret, or of its service account. Mend them, and submit again."


def explain_error(said: str, endpoint: str | None) -> str:
    """A store's error as a sentence, and the fix."""
    where, pod = f" at {endpoint}" if endpoint else "", "PREFLOW_TASK" in os.environ
    lower = said.lower()
    if any(word in lower for word in ("nosuchbucket", "no_such_bucket", "bucket does not exist")):
        return f"there is no such bucket{where}. Make it, or name another one."
    if any(
        word in lower for word in ("access_denied", "accessdenied", "forbidden", "http status 403", "invalid_access")
    ):
        fix = IN_A_POD if pod else "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to ones that may."
        return f"the store{where} refuses these credentials. {fix}"
    unknown = ("signature", "invalidaccesskeyid", "access key id", "expired", "invalid_client_token", "token")
    if any(word in lower for word in unknown):
        fix = IN_A_POD if pod else "Renew AWS_ACCESS_KEY_ID and the others."
        return f"the store{where} does not know these credentials, or they expired. {fix}"
    if any(word in lower for word in ("connect", "network", "resolve", "timed out", "timeout", "curlcode")):
        return f"the store{where} does not answer. Expected an S3 endpoint there. Mend the address, or start it."
    if "resource_not_found" in lower:  # a store would have named what it does not find
        return f"what answers{where} is no S3 store. Expected one there. Mend the address."
    return f"the store{where} says: {said.strip()[:300]}. Look at the store."


def _filesystem(scheme: str, endpoint: str | None) -> Any:
    from pyarrow import fs

    if scheme == "gs":
        return fs.GcsFileSystem(endpoint_override=endpoint)
    if os.environ.get("AWS_ACCESS_KEY_ID"):  # else the SDK looks for EC2's metadata all the same: 6 s in any other pod
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    if endpoint:  # AWS takes checksums as trailers of a body in chunks; not every other store does
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "us-east-1",
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        check_directory_existence_before_creation=True,
    )
