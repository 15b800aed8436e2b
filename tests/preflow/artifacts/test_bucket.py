"""What a store is asked, as it arrives there."""

import os

import pytest

from http_answers import Answer, Request, serving
from preflow.artifacts.bucket import Bucket, explain_error
from preflow.errors import BucketError

XML = {"content-type": "application/xml"}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "")  # put back when the test is over
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")


def store(request: Request) -> Answer:
    """Takes what is uploaded."""
    if request.method == "POST" and request.path.endswith("?uploads"):
        return Answer(
            200, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>", dict(XML)
        )
    return Answer(200, "<CompleteMultipartUploadResult/>", {**XML, "etag": '"1"'})


def test_another_store_than_aws_gets_bytes_as_they_are() -> None:
    """Without the checksum behind chunks that AWS's SDK adds by itself, and that not every store takes."""
    with serving(store) as server:
        Bucket("s3://b/p", server.url).write("name", b"content")
    (put,) = [request for request in server.requests if request.method == "PUT"]
    assert put.body == "content" and "content-encoding" not in put.headers and "x-amz-trailer" not in put.headers
    assert os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"


def test_in_a_pod_the_fix_is_the_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Set AWS_ACCESS_KEY_ID" in explain_error("AWS Error ACCESS_DENIED", None)
    monkeypatch.setenv("PREFLOW_TASK", "train-preference")
    assert "bucket_secret" in explain_error("AWS Error ACCESS_DENIED", None)


def test_a_bucket_that_is_not_there_is_only_asked_for() -> None:
    """Some stores make the bucket that one writes to."""

    def empty(request: Request) -> Answer:
        listing = "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
        return Answer(404, "", dict(XML)) if request.method == "HEAD" else Answer(200, listing, dict(XML))

    with serving(empty) as server, pytest.raises(BucketError, match="there is no such bucket"):
        Bucket("s3://b/p", server.url).check()
    assert {request.method for request in server.requests} <= {"GET", "HEAD"}
