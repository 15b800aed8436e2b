"""What stands behind imported names: versions of libraries, bytes of everything else."""

from pathlib import Path

import pytest

from preflow.artifacts.code import file_imports
from preflow.artifacts.libraries import library_versions


def test_libraries_have_versions() -> None:
    versions = library_versions(["yaml", "numpy", "dateutil", "not_installed_anywhere"])
    assert set(versions) == {"PyYAML", "numpy", "python-dateutil"}, "also where name and distribution differ"


def test_code_that_is_no_library_counts_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour of a scorer, what that imports, and a package: none of them has a version."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "neighbour_a.py").write_text("import neighbour_b, numpy\n")
    (tmp_path / "neighbour_b.py").write_text("WEIGHT = 1\nimport neighbour_a\n")
    (tmp_path / "neighbour_c" / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/deep.py"):
        (tmp_path / "neighbour_c" / name).write_text("")
    before = library_versions(["neighbour_a", "neighbour_c"])
    assert set(before) == {"neighbour_a", "neighbour_b", "neighbour_c", "numpy"}
    assert library_versions(["neighbour_a", "neighbour_c"]) == before
    (tmp_path / "neighbour_b.py").write_text("WEIGHT = 2\nimport neighbour_a\n")
    (tmp_path / "neighbour_c" / "inner" / "deep.py").write_text("x = 1\n")
    after = library_versions(["neighbour_a", "neighbour_c"])
    assert {name for name in before if before[name] != after[name]} == {"neighbour_b", "neighbour_c"}


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "scorers.py").write_bytes(b"\xef\xbb\xbfimport numpy\n")
    assert file_imports(tmp_path / "scorers.py") == ("numpy",)
