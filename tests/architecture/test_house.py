"""The house rules that a machine can see: sizes, catalogue, settings, imports."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from preflow.methods.catalogue import catalogue
from preflow.settings.loss import LOSSES

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("components/**/*.py"), *ROOT.glob("pipelines/**/*.py")])
MAX_FILE, MAX_FUNCTION = 300, 50


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_function_sizes(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE, f"{path}: {lines} lines, budget {MAX_FILE}"
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path) if f.end_lineno - f.lineno + 1 > MAX_FUNCTION}
    assert not long, f"{path}: functions over {MAX_FUNCTION} lines: {long}"


def test_shells_are_small_and_package_files_are_empty() -> None:
    for shell in ROOT.glob("components/preflow/steps/*/component.py"):
        assert len(shell.read_text().splitlines()) <= 40, f"{shell}: a shell is a signature, a docstring and a call"
    for init in [
        *ROOT.glob("components/preflow/*/**/__init__.py"),
        *ROOT.glob("pipelines/preflow_pipelines/*/**/__init__.py"),
    ]:
        assert not init.read_text().strip(), (
            f"{init}: package files re-export nothing, or code digests lose their precision"
        )


def test_no_utils_no_banners() -> None:
    for path in SOURCES:
        assert path.stem not in {"utils", "helpers", "common", "misc"}, path
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.strip().startswith(("# ====", "# ----", "####")), (
                f"{path}: a banner is a missing function: {line}"
            )


def test_no_method_is_named_outside_its_page() -> None:
    """No `if method == "dpo"` anywhere: what a method needs is data on its page."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                values = [c.value for c in [node.left, *node.comparators] if isinstance(c, ast.Constant)]
                assert not set(map(str, values)) & set(catalogue()), (
                    f"{path}:{node.lineno} compares with a method's name"
                )


def test_catalogue_is_files_is_pipelines_is_golden_files() -> None:
    names = set(catalogue())
    assert names == {name for name in names if (ROOT / f"components/preflow/methods/{name}.py").is_file()}
    assert names == {name for name in names if (ROOT / f"pipelines/preflow_pipelines/{name}.py").is_file()}
    assert names == {path.stem for path in (ROOT / "tests/pipelines/golden").glob("*.yaml")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for method in catalogue().values():
        assert f"`{method.name}`" in readme and method.paper in readme


@pytest.mark.parametrize("model", LOSSES, ids=lambda model: model.__name__)
def test_loss_settings_are_the_loss_functions_arguments(model: type) -> None:
    """The settings of a loss are exactly its keyword-only arguments, with the same defaults."""
    module, name = model.function.split(":")
    loss = getattr(__import__(module, fromlist=[name]), name)
    keywords = {p.name: p.default for p in inspect.signature(loss).parameters.values() if p.kind is p.KEYWORD_ONLY}
    fields = {key: field.default for key, field in model.model_fields.items() if key not in ("name", *model.extras)}
    assert fields == keywords


def test_every_default_has_a_meaning_and_a_source() -> None:
    from preflow.settings.runfile import RunFile
    from preflow_pipelines.cli.init import section_model

    for method in catalogue().values():
        models = [RunFile, *(section_model(section, method) for section in ("text", *method.sections, "tracking"))]
        for model in models:
            for name, field in model.model_fields.items():
                assert field.description, f"{model.__name__}.{name} has no meaning"
                if name != "loss":
                    assert (field.json_schema_extra or {}).get("source"), f"{model.__name__}.{name} has no source"


@pytest.mark.parametrize(
    "statement",
    [
        "import preflow_pipelines.compile",
        "import preflow.steps.import_data.step",
        "import preflow_pipelines.cli.check",
        "import preflow_pipelines.cli.compile",
    ],
)
def test_submitting_needs_no_model_library(statement: str) -> None:
    heavy = "{'torch', 'transformers', 'mlflow', 'pandas', 'accelerate', 'peft'}"
    code = f"import sys; {statement}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
