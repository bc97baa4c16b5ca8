"""The converter against protobuf's own (`json_format`), and every fault it must find."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import BOOTSTRAP, CLUSTER, HCM, LISTENER, ROUTER, ROUTES, TYPE_URL, message_of

from outrider.config import api
from outrider.config.parse import Fault, Reader
from outrider.config.reach import MAP, REPEATED, cardinality_of

STRUCT = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.type
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if kind == FieldDescriptor.TYPE_STRING:
        return st.text(max_size=8)
    if kind == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=8)
    if kind == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return st.floats()
    if kind == FieldDescriptor.TYPE_FLOAT:
        return st.floats(width=32)
    unsigned = kind in (
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED32,
        FieldDescriptor.TYPE_FIXED64,
    )
    bits = 32 if kind in _SMALL else 64
    return st.integers(0, 2**bits - 1) if unsigned else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


_SMALL = (
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_SFIXED32,
)


def fill(draw: st.DrawFn, message: Any, descriptor: Descriptor, depth: int) -> None:
    """Set some random fields of a message."""
    name = descriptor.full_name
    if name == "google.protobuf.Any":
        inner = api.new(draw(st.sampled_from([ROUTER, "google.protobuf.StringValue", "google.protobuf.Duration"])))
        fill(draw, inner, inner.DESCRIPTOR, 0)
        message.Pack(inner)
        return
    if name in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
        message.seconds = draw(st.integers(0, 10**9))
        message.nanos = draw(st.integers(0, 999_999_999))
        return
    if name in ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"):
        value = draw(STRUCT)
        if name.endswith("Struct"):
            value = {"x": value}
        elif name.endswith("ListValue"):
            value = [value]
        json_format.ParseDict(value, message)
        return
    if name == "google.protobuf.FieldMask":
        message.paths.extend(draw(st.lists(st.sampled_from(["a", "a.b_c", "some_field"]), max_size=3)))
        return
    if not descriptor.fields:
        return
    fields = draw(st.lists(st.sampled_from(list(descriptor.fields)), max_size=5, unique_by=lambda item: item.name))
    for field in fields:
        set_field(draw, message, field, depth)


def set_field(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    cardinality, below = cardinality_of(field)
    if below is not None and depth <= 0 and cardinality != MAP:
        (getattr(message, field.name).add() if cardinality == REPEATED else getattr(message, field.name).SetInParent())
        return
    if cardinality == MAP:
        assert field.message_type is not None
        if field.message_type.fields_by_name["key"].type != FieldDescriptor.TYPE_STRING:
            return
        container = getattr(message, field.name)
        for key in draw(st.lists(st.text(max_size=4), max_size=2)):
            if below is None:
                container[key] = draw(scalars(field.message_type.fields_by_name["value"]))
            else:
                fill(draw, container[key], below, depth - 1)
    elif cardinality == REPEATED:
        for _ in range(draw(st.integers(0, 2))):
            if below is None:
                getattr(message, field.name).append(draw(scalars(field)))
            else:
                fill(draw, getattr(message, field.name).add(), below, depth - 1)
    elif below is None:
        setattr(message, field.name, draw(scalars(field)))
    else:
        getattr(message, field.name).SetInParent()
        fill(draw, getattr(message, field.name), below, depth - 1)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    name = draw(st.sampled_from([BOOTSTRAP, LISTENER, CLUSTER, HCM, ROUTES]))
    message = api.new(name)
    fill(draw, message, message.DESCRIPTOR, 4)
    return message


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(messages(), st.booleans())
def test_what_protobuf_writes_is_read_back(message: Message, original_names: bool) -> None:
    tree = json_format.MessageToDict(message, preserving_proto_field_name=original_names, descriptor_pool=api.pool())
    theirs = type(message)()
    json_format.ParseDict(tree, theirs, descriptor_pool=api.pool())
    ours = type(message)()
    reader = Reader()
    reader.read(tree, ours)
    assert [(fault.path, fault.text) for fault in reader.faults] == []
    assert canonical(ours) == canonical(theirs)


def canonical(message: Message) -> Any:
    """Comparable in spite of NaN and of the order in which an Any's maps were written."""
    return json.dumps(json_format.MessageToDict(message, descriptor_pool=api.pool()), sort_keys=True)


def faults(type_name: str, tree: object) -> list[Fault]:
    reader = Reader()
    reader.read(tree, api.new(type_name))
    return reader.faults


def test_both_spellings_and_lenient_forms() -> None:
    expected = message_of(
        CLUSTER,
        {
            "name": "a",
            "connect_timeout": "1s",
            "type": "STRICT_DNS",
            "health_checks": [{"timeout": "2s"}],
            "per_connection_buffer_limit_bytes": 5,
        },
    )
    lenient = message_of(
        CLUSTER,
        {
            "name": "a",
            "connectTimeout": {"seconds": 1},
            "type": "strict_dns",
            "healthChecks": {"timeout": "2s"},
            "perConnectionBufferLimitBytes": {"value": "5.0"},
            "alt_stat_name": None,
            "load_assignment": None,
        },
    )
    assert lenient == expected
    assert message_of(CLUSTER, {"type": "1"}) == message_of(CLUSTER, {"type": 1.0})


def test_lists_in_lists_are_flattened() -> None:
    nested = message_of(ROUTES, {"virtual_hosts": [[{"domains": [["a", "b"], "c"]}, {}], [], [[{"name": "x"}]]]})
    assert nested == message_of(ROUTES, {"virtual_hosts": [{"domains": ["a", "b", "c"]}, {}, {"name": "x"}]})
    (fault,) = faults(ROUTES, {"virtual_hosts": [[], [{}, {"name": 5}]]})
    assert (fault.path, fault.keys) == ("virtual_hosts[1].name", ("virtual_hosts", 1, 1, "name"))


def test_nulls_in_lists_are_empty_messages() -> None:
    assert message_of(CLUSTER, {"health_checks": [None]}) == message_of(CLUSTER, {"health_checks": [{}]})


def test_nulls_of_values_are_kept() -> None:
    node: Any = message_of("envoy.config.core.v3.Node", {"metadata": {"a": None}})
    assert node.metadata.fields["a"].WhichOneof("kind") == "null_value"


def test_anys() -> None:
    extension: Any = message_of(
        "envoy.config.core.v3.TypedExtensionConfig",
        {"typed_config": {"@type": "x/google.protobuf.Duration", "value": "1s"}},
    )
    assert extension.typed_config.type_url == "x/google.protobuf.Duration"
    empty: Any = message_of("envoy.config.core.v3.TypedExtensionConfig", {"typed_config": {}})
    assert empty.HasField("typed_config") and not empty.typed_config.type_url


def test_specials_are_not_confused_with_numbers() -> None:
    percent: Any = message_of("envoy.type.v3.Percent", {"value": "NaN"})
    assert math.isnan(percent.value)


@pytest.mark.parametrize(
    ("type_name", "tree", "path", "text"),
    [
        (CLUSTER, {"nmae": "a"}, "nmae", f"no such field in {CLUSTER} (did you mean 'name'?)"),
        (CLUSTER, {"qqqqqq": 1}, "qqqqqq", f"no such field in {CLUSTER}"),
        (CLUSTER, {"name": 5}, "name", "expected a string, found the number 5 (quote it)"),
        (CLUSTER, {"name": {}}, "name", "expected a string, found an object"),
        (CLUSTER, {"load_assignment": "x"}, "load_assignment",
         'expected an object (envoy.config.endpoint.v3.ClusterLoadAssignment), found the string "x"'),
        (CLUSTER, {"connect_timeout": "5"}, "connect_timeout",
         'expected a duration like "1.5s" (it must end with a single "s"), found "5"'),
        (CLUSTER, {"connect_timeout": 5}, "connect_timeout",
         'expected a duration like "1.5s", found the number 5'),
        (CLUSTER, {"per_connection_buffer_limit_bytes": 2**32}, "per_connection_buffer_limit_bytes",
         "integer out of range: 4294967296 is not within 0 to 4294967295"),
        (CLUSTER, {"health_checks": [{}, {"timeout": "x"}]}, "health_checks[1].timeout",
         'expected a duration like "1.5s" (it must end with a single "s"), found "x"'),
        (CLUSTER, {"health_checks": [5]}, "health_checks[0]",
         "expected an object (envoy.config.core.v3.HealthCheck), found the number 5"),
        (CLUSTER, {"type": "EDS", "cluster_type": {}}, "cluster_type",
         "excludes 'type', which is set too (one of a kind: cluster_discovery_type)"),
        (ROUTES, {"virtual_hosts": [{"domains": ["a", 5]}]}, "virtual_hosts[0].domains[1]",
         "expected a string, found the number 5 (quote it)"),
        (CLUSTER, {"typed_extension_protocol_options": 5}, "typed_extension_protocol_options",
         "expected an object (a map), found the number 5"),
        (CLUSTER, {"typed_extension_protocol_options": {"a": {"x": 1}}}, 'typed_extension_protocol_options["a"]',
         "@type is missing"),
        (CLUSTER, {"transport_socket": {"typed_config": {"@type": "no.Slash"}}},
         "transport_socket.typed_config.@type",
         '@type must be like type.googleapis.com/envoy.config..., found the string "no.Slash"'),
        (CLUSTER, {"transport_socket": {"typed_config": {"@type": "a/no.such.Type"}}},
         "transport_socket.typed_config.@type", "could not find @type 'a/no.such.Type'"),
        (CLUSTER, {"transport_socket": {"typed_config": {"@type": "a/envoy.api.v2.Cluster"}}},
         "transport_socket.typed_config.@type",
         "could not find @type 'a/envoy.api.v2.Cluster' (Envoy removed the v2 API in version 1.18: use the v3 type)"),
        (CLUSTER, {"transport_socket": {"typed_config": {"@type": "a/google.protobuf.Struct", "x": 1}}},
         "transport_socket.typed_config.x", "a google.protobuf.Struct in an Any has only @type and value"),
        (CLUSTER, {"transport_socket": {"typed_config": [1]}}, "transport_socket.typed_config",
         "expected an object with @type, found a list"),
        (CLUSTER, {"metadata": {"filter_metadata": {"x": 5}}}, 'metadata.filter_metadata["x"]',
         "expected an object, found the number 5"),
        (CLUSTER, [1], "", f"expected an object ({CLUSTER}), found a list"),
    ],
)  # fmt: skip
def test_faults(type_name: str, tree: object, path: str, text: str) -> None:
    found = faults(type_name, tree)
    assert [(fault.path, fault.text) for fault in found] == [(path, text)]


def test_enum_faults_list_what_is_allowed() -> None:
    (fault,) = faults(CLUSTER, {"type": "STRIKT_DNS"})
    assert fault.text == (
        "unknown enum value 'STRIKT_DNS' (did you mean 'STRICT_DNS'?); "
        "expected one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST"
    )
    assert fault.unknown
    (fault,) = faults(CLUSTER, {"type": True})
    assert fault.text.startswith("expected one of STATIC")
    assert not fault.unknown


def test_all_faults_are_found_at_once_with_their_keys() -> None:
    found = faults(CLUSTER, {"nmae": 1, "connectTimeout": 5, "healthChecks": [{"timeout": 7}]})
    assert [fault.keys for fault in found] == [("nmae",), ("connectTimeout",), ("healthChecks", 0, "timeout")]


def test_forms_of_version_1_16_are_translated_with_one_warning_each() -> None:
    reader = Reader()
    cluster: Any = api.new(CLUSTER)
    reader.read({"prefetch_policy": {"per_upstream_prefetch_ratio": 1.5}}, cluster)
    assert not reader.faults
    assert cluster.preconnect_policy.per_upstream_preconnect_ratio.value == 1.5
    assert [(warning.path, warning.text) for warning in reader.warnings] == [
        ("prefetch_policy", "field is called 'preconnect_policy' today"),
        ("preconnect_policy.per_upstream_prefetch_ratio", "field is called 'per_upstream_preconnect_ratio' today"),
    ]
    reader = Reader()
    extension: Any = api.new("envoy.config.core.v3.TypedExtensionConfig")
    old = "envoy.extensions.filters.http.admission_control.v3alpha.AdmissionControl"
    reader.read({"typed_config": {"@type": TYPE_URL + old}}, extension)
    assert extension.typed_config.type_url == TYPE_URL + old.replace("v3alpha", "v3")
    assert len(reader.warnings) == 1 and not reader.faults
