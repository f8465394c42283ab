"""Files replaced whole or not at all, and locks that one process holds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kb.errors import BusyError, StoreError
from kb.files import replace_file, replacing
from kb.locks import holding, is_held


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, permissions: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(permissions)
    with replacing(path) as temporary:
        assert mode(temporary) & 0o077 & ~permissions == 0  # never open to more than the file is
        temporary.write_text("new")
    assert (path.read_text(), mode(path)) == ("new", permissions)


def test_through_a_link_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(target)
    for content in ("made", "replaced"):
        replace_file(link, content)
        assert (link.is_symlink(), target.read_text()) == (True, content)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "link", "there"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_content_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    replace_file(tmp_path / "file", b"content")
    assert steps == ["file", "rename", "folder"]
    replace_file(tmp_path / "file", b"content", durable=False)
    assert steps[3:] == ["rename"]


def test_a_name_of_the_greatest_length_can_be_replaced(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127):
        replace_file(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name


def test_a_lock_is_held_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    assert not is_held(path)
    assert not path.parent.exists()  # to ask makes nothing
    with holding(path, "Somebody is at it."):
        assert is_held(path)
        with pytest.raises(BusyError, match=r"^Somebody is at it\.$"), holding(path, "Somebody is at it."):
            pass
        program = f"from pathlib import Path; from kb.locks import is_held; print(is_held(Path({str(path)!r})))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "True\n"
    assert not is_held(path)


def test_a_lock_in_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/a cannot be written: .*--home"), holding(tmp_path / "file/a/b.lock", "Busy."):
        pass
