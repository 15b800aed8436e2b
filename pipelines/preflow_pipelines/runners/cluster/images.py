"""images.lock: the image of each role by digest, and the source that was built into them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.errors import ClusterError
from preflow.steps.images import IMAGES, source_digest

BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
MAKE_IT = "make push PREFIX=REGISTRY/PATH"


@dataclass(frozen=True)
class Image:
    """`modules` are the top names that can be imported in it; none where the lock does not say."""

    reference: str
    modules: frozenset[str]


@dataclass(frozen=True)
class ImagesLock:
    """`source` is the digest of the code in the images, `revision` the commit they were built from."""

    version: str
    revision: str
    source: str
    python: str
    images: dict[str, Image]

    def reference(self, role: str) -> str:
        return self.images[role].reference


def read_lock(path: Path) -> ImagesLock:
    """The lock of images that hold the code which is installed here. Raises ClusterError for any other."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ClusterError(
            f"{path.absolute()}: not there. Expected the digests of images that the cluster can pull. Build and push them: "
            f"{MAKE_IT}; or name the file that this or somebody else wrote: preflow context add NAME ... --images PATH"
        ) from None
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"{path}: cannot be read ({error}). Expected what `make push` wrote. Write it again: {MAKE_IT}"
        ) from None
    images = {role: _image(path, role, content) for role in IMAGES}
    about = {name: str(content.get(name, "")) for name in ("version", "revision", "source", "python")}
    if about["source"] != source_digest():
        raise ClusterError(
            f"{path}: the images hold other code (preflow {about['version'] or '?'}, commit {about['revision'][:12] or '?'}) "
            f"than what is installed here. Expected the same, so that a step does what was checked. Build them again: {MAKE_IT}"
        )
    return ImagesLock(images=images, **about)


def _image(path: Path, role: str, content: Any) -> Image:
    """The image of a role. A tag is refused: it may mean something else tomorrow, and the cache would not notice."""
    entry = content.get(role) if isinstance(content, dict) else None
    entry = entry if isinstance(entry, dict) else {}
    reference = entry.get("image")
    if not isinstance(reference, str):
        raise ClusterError(
            f"{path}: no image for {role}. Expected one each for {', '.join(IMAGES)}. Write it again: {MAKE_IT}"
        )
    if not BY_DIGEST.fullmatch(reference):
        raise ClusterError(
            f"{path}: image of {role} is {reference!r}, a name whose content can change. Expected NAME@sha256:DIGEST. "
            f"Write the file again: {MAKE_IT}; or put in the digest that `docker push` or your registry shows."
        )
    return Image(reference, frozenset(entry.get("modules", ())))
