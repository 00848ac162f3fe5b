"""Manifests: YAML as Kubernetes reads it, and errors that say where."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import manifests
from orchestrator.cli.errors import CliError
from orchestrator.cli.manifests import parse_manifest, read_manifests

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n"


def _content(text: str) -> Any:
    (manifest,) = parse_manifest(f"apiVersion: v1\nkind: ConfigMap\nvalue: {text}\n".encode(), "test.yaml")
    return manifest.object["value"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("0644", 420),
        ("0o644", 420),
        ("0x10", 16),
        ("1_000", 1000),
        ("10", 10),
        ("-1", -1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("'1'", "1"),
        ("1.2.3", "1.2.3"),
        ("10Mi", "10Mi"),
        ("~", None),
        ("{1: a}", {"1": "a"}),
    ],
)
def test_scalars(text: str, expected: object) -> None:
    found = _content(text)
    assert found == expected
    assert type(found) is type(expected)


def test_documents_and_lists_come_in_the_order_in_which_they_are_written() -> None:
    items = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n"
    text = f"---\n{POD.format(name='a')}---\n\n---\n{items}---\n{POD.format(name='c')}"
    assert [each.object["metadata"]["name"] for each in parse_manifest(text.encode(), "x")] == ["a", "b", "c"]


def test_json_is_read_too() -> None:
    (manifest,) = parse_manifest(b'{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}', "x.json")
    assert manifest.object["metadata"] == {"name": "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "error: error parsing test.yaml: error converting YAML to JSON: yaml: line 1: mapping values"),
        ("a: [1", "error: error parsing test.yaml: error converting YAML to JSON: yaml: line"),
        ("a: 1\nb: 2\na: 3", 'yaml: line 3: key "a" already set in map'),
        ("a: b", "error validating data: [apiVersion not set, kind not set]"),
        ("kind: Pod", "error validating data: apiVersion not set"),
        ("- a", "expected a map, got list"),
        ("apiVersion: v1\nkind: [Pod]", "kind must be a string"),
        ("apiVersion: v1\nkind: Pod\nmetadata: web", "metadata must be a map"),
        ("a: !!python/object/apply:os.system [id]", "error converting YAML to JSON"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(CliError) as raised:
        parse_manifest(text.encode(), "test.yaml")
    assert message in str(raised.value)


async def test_folders_are_read_by_name_and_only_deeply_when_asked(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(POD.format(name="b"))
    (tmp_path / "a.yml").write_text(POD.format(name="a"))
    (tmp_path / "notes.txt").write_text("not: a manifest")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}')
    flat, errors = await read_manifests([str(tmp_path)])
    assert [each.object["metadata"]["name"] for each in flat] == ["a", "b"]
    deep, _ = await read_manifests([str(tmp_path)], recursive=True)
    assert [each.object["metadata"]["name"] for each in deep] == ["a", "b", "c"]
    assert not errors


async def test_one_unreadable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: b: c")
    (tmp_path / "good.yaml").write_text(POD.format(name="good"))
    found, errors = await read_manifests([str(tmp_path), str(tmp_path / "missing.yaml")])
    assert [each.object["metadata"]["name"] for each in found] == ["good"]
    assert len(errors) == 2
    assert f'the path "{tmp_path}/missing.yaml" does not exist' in str(errors[1])


async def test_what_is_too_large_is_refused_and_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = POD.format(name="a").encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/pod.yaml"
    file = tmp_path / "pod.yaml"
    file.write_bytes(content)
    async with server:
        for name in (str(file), url):
            monkeypatch.setattr(manifests, "MANIFEST_BYTES_MAX", len(content))
            assert [one.source for one in (await read_manifests([name]))[0]] == [name]
            monkeypatch.setattr(manifests, "MANIFEST_BYTES_MAX", len(content) - 1)
            found, errors = await read_manifests([name])
            assert found == []
            assert [str(error) for error in errors] == [f"error: {name} is larger than {len(content) - 1} bytes"]
