"""The images hold what their steps import, pinned, and nothing that the next image would have to fetch again."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from preflow.artifacts.code import code_digest
from preflow.steps.images import IMAGES

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ROOT / "containers"
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
HAS = {"data": ["data"], "generate": ["data", "generate"], "train": ["data", "generate", "train"]}


def dockerfile(role: str) -> str:
    return (CONTAINERS / role / "Dockerfile").read_text()


def packages(role: str) -> set[str]:
    """What an image installs, with all that those packages need, as this environment's metadata has it."""
    named = [line for part in HAS[role] for line in (CONTAINERS / part / "requirements.txt").read_text().split()]
    todo = [Requirement(line) for line in named] + ([Requirement("torch")] if role != "data" else [])
    found: set[str] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        todo += [Requirement(each) for each in importlib.metadata.requires(name) or ()]
    return found


@pytest.mark.parametrize("role", IMAGES)
def test_requirements_name_packages_and_constraints_pin_them_all(role: str) -> None:
    for line in (CONTAINERS / role / "requirements.txt").read_text().split():
        assert re.fullmatch(r"[a-z0-9-]+", line), f"{role}: {line}; versions stand in constraints.txt alone"
    assert packages(role) <= set(PINNED), packages(role) - set(PINNED)


@pytest.mark.parametrize("role", IMAGES)
def test_an_image_has_what_its_steps_import(role: str) -> None:
    steps = [
        path.parent.name
        for path in (ROOT / "components/preflow/steps").glob("*/component.py")
        if f"{role.upper()}_IMAGE" in path.read_text()
    ]
    assert steps
    roots = [f"preflow.steps.{step}.step" for step in steps]
    wanted = set(code_digest([*roots, "preflow.steps.kit"]).foreign) - set(sys.stdlib_module_names)
    distributions = importlib.metadata.packages_distributions()
    lacking = {
        name for name in wanted if not {canonicalize_name(each) for each in distributions[name]} & packages(role)
    }
    assert not lacking


def test_data_has_no_torch() -> None:
    assert not packages("data") & {"torch", "transformers", "accelerate"}


def test_images_share_their_layers() -> None:
    """What one image installs, the next one has in the same words: a builder and a node keep it once."""
    body = {role: re.sub(r"^#.*\n", "", dockerfile(role), flags=re.MULTILINE) for role in IMAGES}
    common = {role: text.split("ENV PIP_PREFIX")[0].rstrip() for role, text in body.items()}
    assert common["generate"].startswith(common["data"])
    assert common["train"].startswith(common["generate"])
    ends = {body[role].split("ENV PIP_PREFIX")[1].replace(f"preflow {role}", "") for role in IMAGES}
    assert len(ends) == 1


@pytest.mark.parametrize("role", IMAGES)
def test_no_address_of_an_index_and_no_root(role: str) -> None:
    text = dockerfile(role)
    assert not re.search(r"https?://|--index-url|--extra-index-url", text)
    assert re.findall(r"^USER (.*)$", text, flags=re.MULTILINE) == ["1000:0"]
    assert text.index("\nUSER ") > text.rindex("\nRUN ")


def test_every_setting_is_documented() -> None:
    readme = (CONTAINERS / "README.md").read_text()
    settings = (CONTAINERS / "build.py").read_text().split("SETTINGS = {")[1].split("\n}")[0]
    for name in re.findall(r'^    "(\w+)":', settings, flags=re.MULTILINE):
        assert f"`{name}`" in readme, name
