"""Build the three images, push them to a registry beside the node, let the node pull them, and write their lock.

    python tests/cluster/build_images.py LOCK [ROOT]     ROOT: another checkout to build from, e.g. one with changed code
    python tests/cluster/build_images.py                 what building takes, and no image: can it be had here?

From an empty Debian machine: buildah, mmdebstrap and docker-registry are installed, the base image is made (python:3.11-slim
cannot be had everywhere), wheels come from wherever pip finds them. Kept under $PREFLOW_IMAGES_CACHE, or ~/.cache: a second
call with the same inputs takes seconds. PREFLOW_CLUSTER names the script that runs the node.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
KEPT = Path(os.environ.get("PREFLOW_IMAGES_CACHE") or Path.home() / ".cache" / "preflow-test-images")
CLUSTER = os.environ.get("PREFLOW_CLUSTER") or str(HERE.parent / "shared" / "cluster" / "cluster")
NAMESPACE = os.environ.get("PREFLOW_TEST_NAMESPACE", "kubeflow")
REGISTRY = "127.0.0.1:5055"  # of the node's own network: containerd speaks plain HTTP to loopback
BASE = "localhost/python:3.11-slim-test"
ROLES = ("data", "generate", "train")
CONTENT = ("Dockerfile", "requirements.txt")
DEBIAN = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "docker-registry": "docker-registry"}
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: pull-{role}, namespace: {namespace}}}
spec:
  restartPolicy: Never
  containers: [{{name: main, image: "{image}", command: ["true"]}}]
"""


def run(*command: str | Path, **options: object) -> str:
    """Run a command; its output is returned, and shown if it fails."""
    done = subprocess.run(
        [str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(str(word) for word in command)}\n{done.stdout}\nended with {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def install() -> None:
    missing = [package for package, program in DEBIAN.items() if not shutil.which(program)]
    if not missing:
        return
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", env=environment)
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, env=environment)


def make_base() -> None:
    """An image like python:3.11-slim, from Debian's packages."""
    if not subprocess.run(["buildah", "inspect", "--type", "image", BASE], capture_output=True).returncode:
        return
    say(f"making {BASE} from Debian's packages")
    tar = KEPT / "base.tar"
    lean = [f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in ("doc", "man", "locale")]
    clean = '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*'
    packages = "--include=python3,python3-venv,ca-certificates"
    run("mmdebstrap", "--quiet", "--variant=minbase", packages, *lean, clean, "--format=tar", "bookworm", tar)
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", container, tar, "/")
    run("buildah", "config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--cmd", "python3", container)
    run("buildah", "commit", "--quiet", "--rm", container, BASE)
    tar.unlink()


def digest_of(*files: Path) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:16]


def get_wheels(root: Path) -> Path:
    """A folder with all wheels that the images need, from where pip finds them on this machine."""
    asked = [*sorted(root.glob("containers/*/requirements.txt")), root / "constraints.txt"]
    folder = KEPT / f"wheels-{digest_of(*asked)}"
    if folder.is_dir():
        return folder
    if sys.version_info[:2] != (3, 11):
        raise SystemExit("wheels are fetched with the base image's Python, 3.11. Call this script with it.")
    say("fetching wheels")
    part = folder.with_suffix(".part")
    requirements = [word for path in asked[:-1] for word in ("-r", str(path))]
    run(sys.executable, "-m", "pip", "wheel", "-q", "-w", part, "-c", asked[-1], "torch", *requirements)
    part.rename(folder)
    return folder


@contextmanager
def registry() -> Iterator[None]:
    """A registry in the node's network."""
    settings = KEPT / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{REGISTRY}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {KEPT / 'registry'}}}}}\n"
    )
    with (KEPT / "registry.log").open("w") as log:
        process = subprocess.Popen([CLUSTER, "exec", "docker-registry", "serve", settings], stdout=log, stderr=log)
    try:
        probe = ["exec", "python3", "-c", f"import urllib.request as u; u.urlopen('http://{REGISTRY}/v2/', timeout=2)"]
        for _ in range(50):
            if not subprocess.run([CLUSTER, *probe], capture_output=True).returncode:
                break
            time.sleep(0.2)
        else:
            raise SystemExit(f"the registry did not start: {(KEPT / 'registry.log').read_text()}")
        yield
    finally:
        process.terminate()
        process.wait()


def build(root: Path, lock: Path, wheels: Path) -> None:
    """make images, make push."""
    environment = {
        **os.environ,
        "TOOL": "buildah",
        "BUILDAH_ISOLATION": "chroot",
        "BASE": BASE,
        "PREFIX": f"{REGISTRY}/preflow",
        "WHEELS": str(wheels),
        "TLS_VERIFY": "false",
        "LOCK": str(lock),
    }
    say("building images")
    run(sys.executable, root / "containers" / "build.py", "images", env=environment)
    say("pushing images")
    run(CLUSTER, "exec", sys.executable, root / "containers" / "build.py", "push", env=environment)


def pull(lock: Path) -> None:
    """Let the node pull the images, by a pod each."""

    images = {role: json.loads(lock.read_text())[role]["image"] for role in ROLES}
    pods = [f"pod/pull-{role}" for role in ROLES]
    kubectl = ["kubectl", "--namespace", NAMESPACE]
    run(*kubectl, "delete", "--ignore-not-found", "--wait", *pods)
    for role, image in images.items():
        run(*kubectl, "apply", "-f", "-", input=POD.format(role=role, image=image, namespace=NAMESPACE))
    say("the node pulls them")
    run(*kubectl, "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=600s", *pods)
    run(*kubectl, "delete", "--wait=false", *pods)


@contextmanager
def tools(root: Path = HERE) -> Iterator[Path]:
    """What building takes, for one at a time; the wheels' folder."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "one-at-a-time").open("w") as one:
        fcntl.flock(one, fcntl.LOCK_EX)
        install()
        with ThreadPoolExecutor() as pool:
            wheels, base = pool.submit(get_wheels, root), pool.submit(make_base)
        base.result()
        yield wheels.result()


def build_images(lock: Path, root: Path = HERE) -> None:
    """Write the lock of images built from `root` that the node has."""
    with tools(root) as wheels:
        build_once(lock, root, wheels)


def build_once(lock: Path, root: Path, wheels: Path) -> None:
    """Build, unless the same was built before; the node then pulls what it lacks."""
    parts = [(root / "components").rglob("*.py"), *((root / "containers").glob(f"*/{name}") for name in CONTENT)]
    inputs = [*(path for part in parts for path in part), root / "constraints.txt"]
    kept = KEPT / f"{digest_of(*sorted(inputs), root / 'containers' / 'build.py', Path(__file__))}.lock"
    with registry():
        if not kept.is_file():
            build(root, kept, wheels)
        pull(kept)
    shutil.copy(kept, lock)
    say(f"wrote {lock}")


if __name__ == "__main__":
    if arguments := [Path(each).resolve() for each in sys.argv[1:3]]:
        build_images(*arguments)
    else:
        with tools():
            say("images can be built here")
