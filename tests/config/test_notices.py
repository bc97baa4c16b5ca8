from __future__ import annotations

from typing import Any

import pytest
from messages import CLUSTER, HCM, LISTENER, TYPE_URL, message_of

from outrider.config import api, notices
from outrider.config.reach import MAP, REPEATED, SINGLE, Reach, cardinality_of

API_CONFIG_SOURCE = "envoy.config.core.v3.ApiConfigSource"


def found(type_name: str, tree: dict[str, Any], **options: Any) -> list[tuple[str, str, str]]:
    return [
        (notice.kind, notice.path, notice.subject) for notice in notices.collect(message_of(type_name, tree), **options)
    ]


def test_deprecated_fields_are_named_wherever_they_are() -> None:
    tree = {
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "x",
                        "typed_config": {
                            "@type": TYPE_URL + HCM,
                            "flush_access_log_on_new_request": True,
                            "route_config": {
                                "virtual_hosts": [
                                    {"routes": [{"match": {"headers": [{"name": "a", "exact_match": "b"}]}}]}
                                ]
                            },
                        },
                    }
                ]
            }
        ]
    }
    at = "filter_chains[0].filters[0].typed_config"
    assert found(LISTENER, tree) == [
        (
            notices.DEPRECATED,
            f"{at}.route_config.virtual_hosts[0].routes[0].match.headers[0].exact_match",
            "envoy.config.route.v3.HeaderMatcher.exact_match",
        ),
        (notices.DEPRECATED, f"{at}.flush_access_log_on_new_request", f"{HCM}.flush_access_log_on_new_request"),
    ]


def test_what_is_not_set_is_not_named() -> None:
    assert found(CLUSTER, {"name": "a", "type": "STATIC"}) == []


def test_deprecated_enum_values_count_also_as_the_default() -> None:
    subject = "envoy.config.core.v3.ApiConfigSource.ApiType.DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE"
    expected = [(notices.DISALLOWED, "x.api_type", subject)]
    assert found(API_CONFIG_SOURCE, {}, path="x") == expected
    assert found(API_CONFIG_SOURCE, {"api_type": "GRPC"}) == []
    assert found(API_CONFIG_SOURCE, {}, allowed=lambda name: name == subject) == [
        (notices.DEPRECATED, "api_type", subject)
    ]


def test_work_in_progress() -> None:
    assert found("xds.core.v3.ContextParams", {}) == [(notices.WORK_IN_PROGRESS, "", "xds.core.v3.ContextParams")]


@pytest.mark.parametrize("look", [True, False])
def test_unknown_fields_of_binary_messages(look: bool) -> None:
    cluster: Any = api.new(CLUSTER)
    cluster.eds_cluster_config.MergeFromString(b"\xfa\x3f\x02ab")
    cluster.MergeFromString(b"\xfa\x3f\x02ab")
    kinds = [(notice.kind, notice.path) for notice in notices.collect(cluster, look_for_unknown=look)]
    assert kinds == ([(notices.UNKNOWN, ""), (notices.UNKNOWN, "eds_cluster_config")] if look else [])


def test_cardinality_of_fields() -> None:
    fields = api.descriptor(CLUSTER).fields_by_name
    assert cardinality_of(fields["name"]) == (SINGLE, None)
    assert cardinality_of(fields["health_checks"])[0] == REPEATED
    cardinality, value = cardinality_of(fields["typed_extension_protocol_options"])
    assert cardinality == MAP and value is not None and value.full_name == "google.protobuf.Any"


def test_reach() -> None:
    asked: list[str] = []

    def holds(name: str) -> bool:
        asked.append(name)
        return name == "google.protobuf.Any"

    reach = Reach(holds)
    assert reach.reaches(api.descriptor(CLUSTER))
    assert not reach.reaches(api.descriptor("envoy.config.core.v3.Locality"))
    count = len(asked)
    assert reach.reaches(api.descriptor(CLUSTER))
    assert not reach.reaches(api.descriptor("envoy.config.core.v3.Locality"))
    assert len(asked) == count
