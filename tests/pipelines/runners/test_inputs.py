"""The input store: the path is the digest, whatever the user's file is called and wherever it lies."""

import shutil
import time
from pathlib import Path

import pytest

import tiny
from preflow.artifacts import digests
from preflow.artifacts.digests import DigestIndex, file_sha256
from preflow.artifacts.manifest import write_manifest
from preflow.errors import ModelError, SettingsError
from preflow.settings.plan import InputSpec
from preflow.settings.text import TextSettings
from preflow_pipelines.runners.inputs import StagedInput, open_store


def stage(home: Path, kind: str, source: object) -> StagedInput:
    with open_store(home) as store:
        return store.stage(InputSpec("x", kind, source))  # type: ignore[arg-type]


def test_names_and_places_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.JSONL").write_text("{}\n")
    (tmp_path / "c.jsonl").write_text("{} \n")
    staged = [
        stage(tmp_path / "home", "files", {"train": [str(tmp_path / name)], "heldout": []})
        for name in ("a.jsonl", "sub/b.JSONL", "c.jsonl")
    ]
    assert staged[0].uri == staged[1].uri != staged[2].uri
    assert staged[0].files == {"train/000.jsonl": str(tmp_path / "a.jsonl")}
    assert (Path(staged[0].uri) / "train" / "000.jsonl").read_text() == "{}\n"
    held = stage(tmp_path / "home", "files", {"train": [], "heldout": [str(tmp_path / "a.jsonl")]})
    assert held.uri != staged[0].uri, "on which side a file stands does count"


def test_a_saved_dataset_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "data.arrow").write_bytes(b"x")
    staged = stage(tmp_path / "home", "files", {"train": [str(tmp_path / "set")], "heldout": []})
    assert (Path(staged.uri) / "train" / "000" / "train" / "data.arrow").read_bytes() == b"x"


def test_models_take_weights_and_tokenizer_only(tmp_path: Path, tiny_model: Path) -> None:
    model = tiny.make_model(tmp_path / "model")
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    first = stage(tmp_path / "home", "model", str(model))
    assert not (Path(first.uri) / "pytorch_model.bin").exists()
    assert first.uri == stage(tmp_path / "home", "model", str(tiny_model)).uri
    said: list[str] = []
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    with weights.open("r+b") as file:  # in place: the hard link in the store changes, too
        file.write(data)
    with open_store(tmp_path / "home", said.append) as store:
        changed = store.stage(InputSpec("x", "model", str(model)))
        assert changed.uri != first.uri
        again = store.stage(InputSpec("x", "model", str(tiny_model)))
    assert again.uri == first.uri
    assert any("made again" in text for text in said)
    assert (Path(again.uri) / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(ModelError, match=r"config\.json"):
        stage(tmp_path / "home", "model", str(tmp_path / "m"))
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match="safetensors"):
        stage(tmp_path / "home", "model", str(tmp_path / "m"))


def test_hub_ids_that_cannot_be_reached_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="no such folder, and the hub did not give it"):
        stage(tmp_path / "home", "model", "someone/some-model@main")


def test_files_behind_a_uri_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "far.jsonl").write_text("{}\n")
    staged = stage(tmp_path / "home", "files", {"train": [f"file://{tmp_path / 'far.jsonl'}"], "heldout": []})
    assert (Path(staged.uri) / "train" / "000.jsonl").read_text() == "{}\n"
    with pytest.raises(SettingsError, match="is not there"):
        stage(tmp_path / "home", "files", {"train": [f"file://{tmp_path / 'absent.jsonl'}"], "heldout": []})


def test_scorers_are_one_file_by_content(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("def f(): pass\n")
    own = stage(tmp_path / "home", "scorer", f"{tmp_path / 's.py'}:f")
    assert Path(own.uri).read_text() == "def f(): pass\n"
    assert Path(stage(tmp_path / "home", "scorer", "json:dumps").uri).read_text() == "from json import dumps\n"
    assert Path(stage(tmp_path / "home", "scorer", None).uri).read_text() == ""


def test_the_template_is_a_part_of_the_tokenizer(tmp_path: Path, tiny_model: Path) -> None:
    staged = [
        stage(tmp_path / "home", "tokenizer", {"model": str(tiny_model), "text": TextSettings(template=name)})
        for name in ("chat", "none", "chat")
    ]
    assert staged[0].uri == staged[2].uri != staged[1].uri
    assert not StagedInput(str(tmp_path / "absent"), "0").is_whole(DigestIndex(tmp_path / "index"))


def test_under_a_digest_lie_the_bytes_that_have_it_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows between the reading of its digest and the copy; and a store that somebody wrote to."""
    data, home, copy = tmp_path / "a.jsonl", tmp_path / "home", shutil.copyfile
    data.write_text("{}\n")

    def written_to_meanwhile(source: Path, target: Path) -> None:
        with data.open("a") as file:
            file.write("{}\n")
        copy(source, target)

    source = {"train": [str(data)], "heldout": []}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", written_to_meanwhile)
        with pytest.raises(SettingsError, match=r"a\.jsonl was changed while it was read"):
            stage(home, "files", source)
    assert list((home / "inputs").iterdir()) == []
    staged, index = stage(home, "files", source), DigestIndex(home / "cache" / "digests.json")
    assert staged.is_whole(index)
    stored = Path(staged.uri) / "train" / "000.jsonl"
    stored.write_text("{ }\n")
    assert not staged.is_whole(index)
    write_manifest(staged.uri)  # one that agrees with the wrong bytes
    assert not staged.is_whole(index)
    assert stage(home, "files", source) == staged
    assert stored.read_text() == "{}\n{}\n"


def test_what_another_run_read_is_taken_from_the_store(tmp_path: Path) -> None:
    """`rerun` means the data that the run had, not what the file holds by now."""
    data, said = tmp_path / "a.jsonl", []
    data.write_text("{}\n")
    spec = InputSpec("data_files", "files", {"train": [str(data)], "heldout": []})
    with open_store(tmp_path / "home", said.append) as store:
        first = store.stage(spec)
        data.write_text("{ }\n")
        assert store.stage(spec, first) == first
        data.unlink()
        assert store.stage(spec, first) == first
        shutil.rmtree(first.uri)
        with pytest.raises(SettingsError, match="cannot be read"):
            store.stage(spec, first)
        data.write_text("{ }\n")
        assert not said
        assert store.stage(spec, first).digest != first.digest
        assert "has lost what the run read" in said[0]


def test_staged_weights_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link in the store changes the ctime of the user's file."""
    model = tiny.make_model(tmp_path / "model")
    time.sleep(0.05)
    first = stage(tmp_path / "home", "model", str(model))
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(digests, "file_sha256", counted)
    assert stage(tmp_path / "home", "model", str(model)) == first
    assert read == []
