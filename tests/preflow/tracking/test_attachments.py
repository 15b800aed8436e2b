"""What is attached to runs in MLflow."""

from pathlib import Path

from preflow.tracking.attachments import dataset_of
from preflow.tracking.runs import RunView, TaskView


def test_a_dataset_is_the_same_when_its_file_was_fetched(tmp_path: Path) -> None:
    """MLflow takes a point twice only if its dataset is the same, too."""
    place, digest = "s3://b/p/artifacts/heldout", "ab" * 32
    evaluation = TaskView("evaluate", "evaluate", "EXECUTED", 1.0, 2.0, {}, "", [], None, arguments={"heldout": place})
    found = []
    for outputs in ({"heldout": place}, {"heldout": str(tmp_path / "heldout")}):
        files = {"heldout": {".": digest}}
        data = TaskView(
            "import-data",
            "import_data",
            "EXECUTED",
            1.0,
            2.0,
            {},
            "",
            [],
            None,
            outputs,
            {},
            files,
            uris={"heldout": place},
        )
        view = RunView(tmp_path, {"inputs": {}}, "SUCCEEDED", 2.0, None, [data, evaluation])
        found.append(dataset_of(view, evaluation, "heldout", "evaluation"))
    assert found == [{"dataset_name": "import-data heldout", "dataset_digest": digest[:36]}] * 2
