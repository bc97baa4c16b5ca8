"""The tool that reads descriptors out of an executable, on a small one made here."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build_api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_api", ROOT / "tools" / "build_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_api"] = module
    spec.loader.exec_module(module)
    return module


def file(name: str, syntax: str = "proto3", **fields: object) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(name=name, package=name.partition(".")[0].replace("/", "."))
    if syntax == "proto3":
        made.syntax = syntax
    message = made.message_type.add(name="M")
    for number, (field, kind) in enumerate(fields.items(), 1):
        message.field.add(name=field, number=number, type=kind, label=1)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("behind", [b"\0\0", b"\x12\x03abc", b"\xff", b"", b"\x0a\x03x.y"])
def test_descriptors_end_where_they_end(build_api: ModuleType, tmp_path: Path, behind: bytes) -> None:
    first = file("a/b.proto", a=9, b=13)
    second = file("c.proto", syntax="proto2", x=5)
    path = tmp_path / "binary"
    path.write_bytes(
        b"\x7fELF\x0a\x07a.proto junk" + first.SerializeToString() + behind + second.SerializeToString() + b"\0"
    )
    assert build_api.read_binary(path) == {"a/b.proto": first, "c.proto": second}


def test_the_larger_of_two_copies_counts(build_api: ModuleType, tmp_path: Path) -> None:
    small, large = file("a.proto", a=9), file("a.proto", a=9)
    large.message_type[0].field[0].json_name = "a"
    path = tmp_path / "binary"
    path.write_bytes(small.SerializeToString() + b"\0" + large.SerializeToString() + b"\0")
    assert build_api.read_binary(path) == {"a.proto": large}


def test_files_come_after_what_they_import(build_api: ModuleType, tmp_path: Path) -> None:
    top, base = file("a.proto", a=9), file("z.proto", z=9)
    top.dependency.append("z.proto")
    build_api.write(
        {"a.proto": top, "z.proto": base, "google/protobuf/descriptor.proto": own_descriptor()}, tmp_path, "x"
    )
    index = json.loads((tmp_path / "index.json").read_text())
    names = [entry[0] for entry in index["files"]]
    assert names.index("z.proto") < names.index("a.proto")
    assert index["files"][names.index("a.proto")][3] == [names.index("z.proto")]
    assert index["symbols"]["a.M"] == names.index("a.proto")
    blob = (tmp_path / "descriptors.bin").read_bytes()
    _, start, length, _ = index["files"][names.index("z.proto")]
    assert descriptor_pb2.FileDescriptorProto.FromString(blob[start : start + length]) == base


def own_descriptor() -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto()
    descriptor_pb2.DESCRIPTOR.CopyToProto(made)
    return made


def test_what_is_missing_is_said(build_api: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = file("a.proto", a=9)
    lonely.dependency.append("nowhere.proto")
    with pytest.raises(build_api.ApiError, match=r"nowhere\.proto"):
        build_api.write({"a.proto": lonely}, tmp_path, "x")
    empty = tmp_path / "empty"
    empty.write_bytes(b"nothing")
    with pytest.raises(build_api.ApiError, match="does not define the Envoy API"):
        build_api.build(tmp_path / "out", empty)
    monkeypatch.setenv("OUTRIDER_ENVOY_BINARY", str(tmp_path / "none"))
    with pytest.raises(build_api.ApiError, match="OUTRIDER_ENVOY_BINARY"):
        build_api.find_binary()
