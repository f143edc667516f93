"""Files written whole: on the disk before they count, and under no name that others can foresee."""

import os
from pathlib import Path

import pytest

from qbm_jax.runtime.whole_file import first_file, whole_file, write_whole


def test_what_others_put_beside_a_file_is_neither_written_through_nor_taken(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    for name in ("a.json.tmp", ".a.json.tmp", "a.json~"):
        (tmp_path / name).symlink_to(theirs)
    write_whole(tmp_path / "a.json", "ours")
    assert (tmp_path / "a.json").read_text() == "ours" and theirs.read_text() == "theirs"
    assert (tmp_path / "a.json.tmp").is_symlink()


def test_what_is_unfinished_has_another_name_each_time_in_a_folder_of_its_writer_alone(tmp_path):
    path = tmp_path / "a.json"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one.parent != other.parent and one.parent.parent == tmp_path
        assert {folder.stat().st_mode & 0o777 for folder in (one.parent, other.parent)} == {0o700}
    assert path.read_text() == "one"  # the block that ended last
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_of_files_written_at_once_the_first_gets_the_name_and_stays(links, tmp_path, monkeypatch):
    def no_link(source, target):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "a.json"
    with first_file(path) as one:
        write_whole(one, "one")
        with first_file(path) as other:
            write_whole(other, "other")
        assert path.read_text() == "other"
    assert path.read_text() == "other"  # the block that ended first
    with pytest.raises(FileNotFoundError), first_file(tmp_path / "b.json"):
        pass
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_contents_are_on_the_disk_before_the_name_and_the_name_when_it_is_done(
    folder, tmp_path, monkeypatch
):
    calls, path = [], tmp_path / "a"
    sync, replace, rename = os.fsync, os.replace, os.rename

    def noted_sync(descriptor):
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        sync(descriptor)

    def noted(move):
        def call(source, target, **options):
            calls.append(("move", Path(source)))
            move(source, target, **options)

        return call

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted(replace))
    monkeypatch.setattr(os, "rename", noted(rename))
    with whole_file(path) as temporary:
        if folder:
            temporary.mkdir()
        inner = temporary / "part" if folder else temporary
        inner.write_text("content")
    wanted = [("sync", inner), *([("sync", temporary)] if folder else [])]
    assert calls == [*wanted, ("move", temporary), ("sync", tmp_path)]
