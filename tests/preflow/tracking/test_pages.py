"""The pages of MLflow in a browser: two runs of different beta, their curves and headline metrics on one page."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_runs import FakeRun, now
from preflow.tracking.recorder import recorded_at, sync
from preflow.tracking.server import base_url, free_port, running_server, serving
from preflow.tracking.view import charts_url, table_url

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1700,2600",
    "--virtual-time-budget=60000",
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs chromium")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, list[str]]]:
    """A served home with three runs: its URL, the experiment, and the MLflow ids of the first two."""
    home = tmp_path_factory.mktemp("home")
    first = FakeRun(home, "1124-1000-ab12", beta=0.1, started=now()).whole()
    second = FakeRun(home, "1124-1005-cd34", beta=0.5, started=now() + 20).whole(reuse=first, reused=("import-data",))
    FakeRun(home, "1124-1009-ef56", beta=0.3, started=now() + 40).whole(reuse=first, reused=("import-data",))
    assert sync(home) == []
    found = [where for run in (first, second) if (where := recorded_at(run.folder, home))]
    port = free_port(5160)
    with serving(home, port):
        assert running_server(home) == base_url(port)
        yield base_url(port), found[0]["experiment_id"], [where["run_id"] for where in found]
    assert running_server(home) is None


def rendered(url: str, profile: Path) -> str:
    """The text of a page once its scripts have run; a screenshot of it lies beside the profile."""
    arguments = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}"]
    subprocess.run([*arguments, f"--screenshot={profile}.png", url], capture_output=True, timeout=180, check=True)
    done = subprocess.run([*arguments, "--dump-dom", url], capture_output=True, timeout=180, check=True, text=True)
    return done.stdout


def curves(page: str) -> int:
    """How many lines with markers the charts of a page draw."""
    return len(re.findall(r'class="trace scatter', page))


def test_the_saved_view_shows_all_runs(site: tuple[str, str, list[str]], tmp_path: Path) -> None:
    base, experiment, _ = site
    page = rendered(charts_url(base, experiment), tmp_path / "view")
    for name in ("dpo-b0.1-ab12", "dpo-b0.5-cd34", "dpo-b0.3-ef56", "Held-out", "eval/win_rate", "train/loss"):
        assert name in page, name
    assert curves(page) >= 6, "expected the curves of three runs in at least two charts"


def test_two_runs_alone_with_headline_metrics_and_both_curves(site: tuple[str, str, list[str]], tmp_path: Path) -> None:
    base, experiment, run_ids = site
    page = rendered(charts_url(base, experiment, run_ids), tmp_path / "two")
    for name in ("dpo-b0.1-ab12", "dpo-b0.5-cd34", "eval/win_rate", "eval/kl_to_reference", "train/loss"):
        assert name in page, name
    assert "dpo-b0.3-ef56" not in page
    for score in ("0.55", "0.75", "1.40", "1.00"):
        assert f">{score}<" in page, f"no bar says {score}"
    assert curves(page) >= 4


def test_the_table_of_two_runs(site: tuple[str, str, list[str]], tmp_path: Path) -> None:
    base, experiment, run_ids = site
    page = rendered(table_url(base, experiment, run_ids), tmp_path / "table")
    for text in ("Comparing 2 Runs", "loss.beta", "eval/win_rate", "0.55", "0.75"):
        assert text in page, text
