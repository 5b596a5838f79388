"""Folders that a killed process leaves behind are swept up by the next start, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hapi_pipeline.agents.sandbox import private

OLD = 1_000_000_000


def left(root: Path, name: str) -> Path:
    folder = root / name
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "a.txt").write_text("x")
    os.utime(folder, (OLD, OLD))
    return folder


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, signal, sys\nfrom hapi_pipeline.agents.sandbox import private\n"
        "made = private.lasting_folder('hapi-toolbox-')\n"
        "with private.private_folder('hapi-sandbox-') as folder:\n"
        "    for one in (made, folder):\n        os.utime(one, (1_000_000_000, 1_000_000_000))\n"
        "    print(private.sweep(), flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(private.__file__).parents[3])}
    made = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    assert made.returncode == -signal.SIGKILL
    assert made.stdout.strip() == "[]", "its own folders are in use"
    assert len(list(tmp_path.iterdir())) == 2
    assert len(private.sweep(tmp_path)) == 2
    assert not list(tmp_path.iterdir())


def test_links_young_folders_and_those_of_others_stay(tmp_path: Path) -> None:
    elsewhere = left(tmp_path, "elsewhere")
    old = left(tmp_path, "hapi-sandbox-old")
    (old / "link").symlink_to(elsewhere)
    os.utime(old, (OLD, OLD))
    (tmp_path / "hapi-sandbox-link").symlink_to(elsewhere)
    (tmp_path / "hapi-sandbox-young").mkdir()
    (tmp_path / "hapi-sandbox-file").write_text("x")
    assert private.sweep(tmp_path) == ["hapi-sandbox-old"]
    assert (elsewhere / "inputs" / "a.txt").read_text() == "x"
    assert {p.name for p in tmp_path.iterdir()} == {
        "elsewhere", "hapi-sandbox-link", "hapi-sandbox-young", "hapi-sandbox-file",
    }  # fmt: skip


def test_a_folder_is_gone_after_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with private.private_folder("hapi-sandbox-") as folder:
        (folder / "a").write_text("x")
        os.utime(folder, (OLD, OLD))
        assert private.sweep() == []
    assert not folder.exists()
