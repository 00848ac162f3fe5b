"""The folder of logs as a page: what is shown, and what stays hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.api import errors
from orchestrator.kubelet.server import log_files
from orchestrator.kubelet.server.log_files import read_log_page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    (folder / "apt").mkdir(parents=True)
    (folder / "apt" / "a<b>.log").write_text("installed\n")
    (folder / "syslog").write_text("booted\n")
    (tmp_path / "secret").write_text("hidden")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inside").symlink_to("syslog")
    return folder


def test_folders_are_lists_of_links(root: Path) -> None:
    for path in ("", "/"):
        kind, body = read_log_page(root, path) or ("", b"")
        assert kind.startswith("text/html")
        assert b'<a href="apt/">apt/</a>\n' in body
        assert b'<a href="syslog">syslog</a>\n' in body
    _, body = read_log_page(root, "/apt") or ("", b"")
    assert b'<a href="a%3Cb%3E.log">a&lt;b&gt;.log</a>' in body


def test_files_are_shown_as_they_are(root: Path) -> None:
    assert read_log_page(root, "/syslog") == read_log_page(root, "/inside") == (log_files.TEXT, b"booted\n")


@pytest.mark.parametrize("path", ["/missing", "/../secret", "/apt/../../secret", "/link", "//etc/passwd", "/a\0b"])
def test_nothing_outside_of_the_folder_is_shown(root: Path, path: str) -> None:
    assert read_log_page(root, path) is None


def test_a_file_that_is_too_large_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES_MAX", 3)
    with pytest.raises(errors.RequestEntityTooLarge):
        read_log_page(root, "/syslog")
