from __future__ import annotations

import subprocess
import sys

import envoy
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from outrider.config import api

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"


def test_messages_are_made_from_a_pool_of_their_own() -> None:
    message_class = api.message_class(BOOTSTRAP)
    assert message_class is api.message_class(BOOTSTRAP)
    assert api.new(BOOTSTRAP) == message_class()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(BOOTSTRAP)


def test_unknown_names() -> None:
    for name in ("no.such.Type", "envoy.config.cluster.v3.Cluster.LbPolicy", ""):
        assert not api.has_type(name)
    with pytest.raises(KeyError):
        api.new("no.such.Type")
    assert api.class_for_url("type.googleapis.com/no.such.Type") is None
    assert api.class_for_url(f"any.host/{BOOTSTRAP}") is api.message_class(BOOTSTRAP)
    assert api.type_name(f"a/b/{BOOTSTRAP}") == BOOTSTRAP == api.type_name(BOOTSTRAP)


def test_options_are_there() -> None:
    rules = api.options("rules")
    assert rules["envoy.config.core.v3.Pipe"] == {
        "path": {"string": {"min_len": "1"}},
        "mode": {"uint32": {"lte": 511}},
    }
    assert "envoy.config.bootstrap.v3.Admin.access_log_path" in api.options("deprecated")
    assert "envoy.extensions.transport_sockets.tls.v3.TlsCertificate.private_key" in api.options("sensitive")
    assert api.options("required_oneofs")["envoy.config.core.v3.Address"] == ["address"]


def test_every_type_can_be_made() -> None:
    for name in api.symbols():
        if api.has_type(name):
            assert api.new(name).DESCRIPTOR.full_name == name
    assert len(api.file_names()) > 400


def test_loading_is_fast_and_does_not_touch_the_default_pool() -> None:
    """A bootstrap with its manager and router loads its descriptors in well under 0.1 s of CPU."""
    program = (
        "import google.protobuf.message_factory, json, time\n"
        "start = time.process_time()\n"
        "from outrider.config import api\n"
        f"api.new({BOOTSTRAP!r})\n"
        "api.new('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager')\n"
        "api.options('rules')\n"
        "print(time.process_time() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout) < 0.1


def surface(descriptor: Descriptor) -> set[str]:
    found = {f"{descriptor.full_name}.{field.name}={field.number}:{field.type}" for field in descriptor.fields}
    found |= {
        f"{enum.full_name}.{value.name}={value.number}" for enum in descriptor.enum_types for value in enum.values
    }
    return found | {descriptor.full_name}


@pytest.mark.parity
def test_the_surface_is_the_binarys() -> None:
    """Names, numbers and types of all fields, read from the binary here by another road: a plain search."""
    content = envoy.binary().read_bytes()
    theirs = descriptor_pool.DescriptorPool()
    files = {}
    for name in api.file_names():
        key = name.encode()
        length = len(key)
        mark = b"\x0a" + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + key
        start = content.find(mark)
        assert start >= 0, f"{name} is not in the binary"
        files[name] = whole_descriptor(content, start)
    # Every file that the binary names as an import is one of ours.
    assert {item for file in files.values() for item in file.dependency} <= set(files)
    done: set[str] = set()

    def add(name: str) -> None:
        if name not in done:
            done.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            theirs.AddSerializedFile(files[name].SerializeToString())

    for name in files:
        add(name)
    checked = 0
    for name in api.symbols():
        if api.has_type(name):
            assert surface(api.descriptor(name)) == surface(theirs.FindMessageTypeByName(name))
            checked += 1
    assert checked > 1800
    ours = {descriptor.name for descriptor in files.values()}
    assert ours == set(api.file_names())


def whole_descriptor(content: bytes, start: int) -> descriptor_pb2.FileDescriptorProto:
    """The longest run of fields that parses as a descriptor."""
    best = descriptor_pb2.FileDescriptorProto()
    position: int | None = start
    while (position := next_field(content, position)) is not None:
        try:
            file = descriptor_pb2.FileDescriptorProto.FromString(content[start:position])
        except DecodeError:
            break
        if file.name != best.name and best.name:  # ran into the next file
            break
        best = file
    return best


def next_field(content: bytes, position: int) -> int | None:
    tag = content[position]
    if tag & 7 == 2 and 1 <= tag >> 3 <= 12:
        length = shift = 0
        position += 1
        while True:
            byte = content[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return position + length if length < 1_000_000 else None
    if tag in (0x50, 0x58):
        return position + 2
    return None


@pytest.mark.parity
def test_every_type_url_of_the_binary_resolves() -> None:
    extensions = envoy.server_info()["node"]["extensions"]
    urls = [url for extension in extensions for url in extension.get("type_urls", [])]
    assert len(urls) > 400
    assert [url for url in urls if not api.has_type(url)] == []
