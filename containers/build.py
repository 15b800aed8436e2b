"""Build the images of the pods, push them, and write images.lock. `make images` and `make push` call it.

    python3 containers/build.py images        build the image of every role
    python3 containers/build.py push          push what was built, and write images.lock
    python3 containers/build.py save FOLDER   write what was built as OCI archives, and images.lock: for nodes without a registry

Standard library only. Every setting is an environment variable, or `make images NAME=VALUE`: see SETTINGS.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "components" / "preflow"
sys.path.insert(0, str(CODE.parent))  # this folder's code, whatever is installed

from preflow import __version__  # noqa: E402
from preflow.steps.images import IMAGES, source_digest  # noqa: E402

SETTINGS = {
    "TOOL": "docker, podman or buildah; the first of them that works if left out",
    "PREFIX": "registry and path before the images' names, e.g. registry.example.com/team/preflow",
    "BASE": "base image: Python 3.11 or later with venv",
    "PLATFORM": "e.g. linux/amd64; this machine's if left out",
    "CUDA": "build of torch: cpu, cu126, ... as your mirror names them; whatever pip prefers if left out",
    "PIP_CONFIG": "a pip.conf for the build alone: index, extra-index-url, credentials",
    "WHEELS": "a folder of wheels, made by `pip wheel`: nothing is then fetched from an index",
    "TLS_VERIFY": "false: the registry speaks plain HTTP (docker: see its insecure-registries)",
    "LOCK": "the file to write; images.lock of this folder if left out",
}
BASE = "python:3.11-slim"
LOCAL = "localhost/preflow"
LABELS = {
    "version": "org.opencontainers.image.version",
    "revision": "org.opencontainers.image.revision",
    "source": "preflow.source",
}
FACTS = (
    "import importlib.metadata as m, json, platform, sys;"
    "names = {n for n in m.packages_distributions() if n.isidentifier()};"
    "print(json.dumps({'python': platform.python_version(), 'modules': sorted(names)}))"
)


class Problem(Exception):
    """Something a person has to put right; printed without a traceback."""


def setting(name: str) -> str:
    assert name in SETTINGS
    return os.environ.get(name, "")


def run(*command: str, quiet: bool = False) -> str:
    """Run a command; its output is shown unless `quiet`, which returns it."""
    if not quiet:
        print("+", " ".join(command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE if quiet else None, text=True)
    if done.returncode:
        raise Problem(f"{' '.join(command[:3])} ... ended with {done.returncode}. Its messages stand above.")
    return done.stdout or ""


def tool() -> str:
    """The tool that builds: the one that was asked for, or the first that works."""
    asked = setting("TOOL")
    for name in [asked] if asked else ["docker", "podman", "buildah"]:
        probe = [name, "version"] if name != "podman" else [name, "info"]  # docker's client alone answers --version
        if shutil.which(name) and subprocess.run(probe, capture_output=True).returncode == 0:
            return name
    raise Problem(
        f"{asked or 'docker, podman, buildah'}: none that works was found. Expected one of them, with its daemon if it "
        "has one. Install buildah (Debian: apt-get install buildah), or name one: make images TOOL=..."
    )


def revision() -> str:
    """The commit that last changed what the images are made of: a later one leaves their digests as they are."""
    what = ["components", "containers", "constraints.txt"]
    git = ["git", "-C", str(ROOT)]
    last = subprocess.run([*git, "log", "-1", "--format=%H", "--", *what], capture_output=True, text=True)
    if last.returncode or not last.stdout:
        return "unknown"
    changed = subprocess.run([*git, "status", "--porcelain", "--", *what], capture_output=True, text=True)
    return last.stdout.strip() + ("-changed" if changed.stdout else "")


def name_of(role: str) -> str:
    """Repository and tag. The tag is for people: what is submitted is the digest."""
    return f"{repository(role)}:{__version__}"


def repository(role: str) -> str:
    return f"{setting('PREFIX') or LOCAL}/{role}-python"


def make_context(folder: Path) -> None:
    """What the Dockerfiles may copy: requirements, constraints, our code without anything else, wheels, pip's settings."""
    shutil.copy(ROOT / "constraints.txt", folder)
    for role in IMAGES:
        (folder / role).mkdir()
        shutil.copy(ROOT / "containers" / role / "requirements.txt", folder / role)
    for path in CODE.rglob("*.py"):
        target = folder / "code" / path.relative_to(CODE.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        target.chmod(0o644)
    (folder / "wheels").mkdir()
    for wheel in Path(setting("WHEELS")).glob("*.whl") if setting("WHEELS") else ():
        try:
            os.link(wheel, folder / "wheels" / wheel.name)
        except OSError:  # on another file system
            shutil.copy(wheel, folder / "wheels")


def pip_settings() -> str:
    """The content of pip's settings file in the build."""
    if setting("WHEELS"):
        return "[global]\nno-index = true\nfind-links = /run/wheels\n"
    return Path(setting("PIP_CONFIG")).read_text() if setting("PIP_CONFIG") else ""


def torch() -> str:
    """The requirement that picks torch's build; constraints.txt has its version."""
    if not setting("CUDA"):
        return "torch"
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    return f"torch=={pinned.group(1)}+{setting('CUDA')}"


def images() -> None:
    """Build the image of every role."""
    builder = tool()
    arguments = {
        "BASE": setting("BASE") or BASE,
        "TORCH": torch(),
        "VERSION": __version__,
        "REVISION": revision(),
        "SOURCE": source_digest(),
    }
    with tempfile.TemporaryDirectory(prefix="preflow-images-") as temporary:
        context, pip = Path(temporary) / "context", Path(temporary) / "pip.conf"
        context.mkdir()
        make_context(context)
        pip.write_text(pip_settings())
        for role in IMAGES:
            command = [builder, "build", "--secret", f"id=pip,src={pip}", "--tag", name_of(role)]
            if builder != "docker":  # the same source gives the same digest, also on another machine
                command += ["--layers", "--timestamp", "315532800"]
            if setting("PLATFORM"):
                command += ["--platform", setting("PLATFORM")]
            for name, value in arguments.items():
                command += ["--build-arg", f"{name}={value}"]
            run(*command, "--file", str(ROOT / "containers" / role / "Dockerfile"), str(context))


def push() -> None:
    """Push what was built, and write the lock with the digests that the registry holds."""
    if not setting("PREFIX"):
        raise Problem("PREFIX is empty. Expected registry and path. Set it: make push PREFIX=registry.example.com/team")
    builder = tool()
    references = {}
    for role in IMAGES:
        if builder == "docker":
            run("docker", "push", name_of(role))
            held = run("docker", "image", "inspect", "--format", "{{json .RepoDigests}}", name_of(role), quiet=True)
            references[role] = next(each for each in json.loads(held) if each.startswith(repository(role) + "@"))
            continue
        with tempfile.TemporaryDirectory() as temporary:
            digest = Path(temporary) / "digest"
            options = [f"--tls-verify={setting('TLS_VERIFY') or 'true'}", "--digestfile", str(digest)]
            run(builder, "push", *options, name_of(role))
            references[role] = f"{repository(role)}@{digest.read_text().strip()}"
    write_lock(builder, references)


def save(folder: Path) -> None:
    """Write what was built as OCI archives, and the lock with the digests that stand in them."""
    builder = tool()
    folder.mkdir(parents=True, exist_ok=True)
    references = {}
    for role in IMAGES:
        archive = folder / f"{role}.tar"
        archive.unlink(missing_ok=True)
        if builder == "buildah":
            run(builder, "push", name_of(role), f"oci-archive:{archive}:{name_of(role)}")
        else:
            form = ["--format", "oci-archive"] if builder == "podman" else []
            run(builder, "save", *form, "--output", str(archive), name_of(role))
        with tarfile.open(archive) as tar:
            index = tar.extractfile("index.json")
            assert index
            references[role] = f"{repository(role)}@{json.load(index)['manifests'][0]['digest']}"
        print(f"to a node: ctr -n k8s.io images import --base-name {repository(role)} --digests {archive}")
    write_lock(builder, references)


def labels(builder: str, image: str) -> dict[str, str]:
    """An image's labels: what was built into it, also if the source here has changed since."""
    if builder == "buildah":
        return json.loads(run(builder, "inspect", "--type", "image", image, quiet=True))["OCIv1"]["config"]["Labels"]
    return json.loads(run(builder, "image", "inspect", image, quiet=True))[0]["Config"]["Labels"]


def facts(builder: str, image: str) -> dict[str, object]:
    """Python's version in an image, and the names that can be imported there."""
    if builder != "buildah":
        return json.loads(run(builder, "run", "--rm", image, "python3", "-c", FACTS, quiet=True))
    container = run(builder, "from", image, quiet=True).strip()
    try:
        return json.loads(run(builder, "run", container, "--", "python3", "-c", FACTS, quiet=True))
    finally:
        run(builder, "rm", container, quiet=True)


def write_lock(builder: str, references: dict[str, str]) -> None:
    """images.lock: the image of each role by digest, and what was built into them."""
    lock: dict[str, object] = {}
    for role, reference in references.items():
        built, found = labels(builder, name_of(role)), facts(builder, name_of(role))
        lock |= {name: built[label] for name, label in LABELS.items()} | {"python": found["python"]}
        lock[role] = {"image": reference, "modules": found["modules"]}
    path = Path(setting("LOCK") or ROOT / "images.lock")
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(lock, indent=2) + "\n")
    part.replace(path)
    print(f"wrote {path}")


def main(arguments: list[str]) -> int:
    """Run a command; what a person has to put right is said without a traceback."""
    try:
        match arguments:
            case ["images"]:
                images()
            case ["push"]:
                push()
            case ["save", folder]:
                save(Path(folder))
            case _:
                raise Problem(f"Expected images, push or save FOLDER.\n{__doc__}")
    except Problem as problem:
        print(f"containers/build.py: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
