"""Archives that could harm whoever opens them: refused with a sentence, and never handed on."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest

from hapi_pipeline.agents.calls import carried_out
from hapi_pipeline.agents.documents import inspect
from hapi_pipeline.agents.ledger import collect
from hapi_pipeline.agents.tools import MAX_FINISH_REFUSALS, Workspace
from tests.agents.conftest import call

MIB = 1 << 20


def bomb() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.bin", bytes(60 * MIB))
    return held.getvalue()


def with_link() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        link = zipfile.ZipInfo("inside.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return held.getvalue()


@pytest.mark.parametrize(("data", "said"), [(bomb(), "unpack to 62,914,560"), (with_link(), "a link, not followed")])
def test_a_harmful_archive_is_refused_and_then_withheld(tmp_path: Path, data: bytes, said: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.prepare([], [])
    content = base64.b64encode(data).decode()
    write = [
        call("write_file", {"path": "b.zip", "content": content, "encoding": "base64"}),
        call("write_file", {"path": "a.md", "content": "The work."}),
    ]
    hand_in = [call("finish", {"summary": "", "deliverables": ["a.md", "b.zip"]})]
    carried_out(workspace, write, False)
    for _ in range(MAX_FINISH_REFUSALS):
        [answer] = carried_out(workspace, hand_in, False)
        assert answer["content"].startswith("Error: not handed in: deliverables/b.zip could harm whoever opens it")
        assert said in answer["content"]
        assert workspace.finished is None
    [answer] = carried_out(workspace, hand_in, False)
    assert "without what is withheld: deliverables/b.zip" in answer["content"]
    assert workspace.finished == "finished_unchecked"
    assert [d.path for d in collect(tmp_path)] == ["a.md"]
    assert (tmp_path / "withheld" / "b.zip").read_bytes() == data
    assert not (tmp_path / "deliverables" / "b.zip").exists()
    assert [d.path for d in collect(tmp_path)] == ["a.md"], "the same when it is asked again"


def test_work_that_compresses_well_is_no_bomb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.txt", "".join(f"{n * 7919 % 99991} done\n" for n in range(200_000)))
        archive.writestr("blank.bmp", bytes(20 * MIB))
    found = inspect(tmp_path / "log.zip")
    assert found.opens, found.about
    assert not found.harmful
