from __future__ import annotations

import logging

import pytest
from messages import CLUSTER, view_of

from outrider.config.errors import ConfigErrors
from outrider.config.support import SupportPolicy

TREE = {"name": "a", "alt_stat_name": "b", "circuit_breakers": {"thresholds": [{"max_connections": 1}]}}


def test_reject_names_every_unread_field() -> None:
    view = view_of(CLUSTER, TREE, "clusters[0]")
    view.text("name")
    with pytest.raises(ConfigErrors) as caught:
        SupportPolicy().check(view)
    assert str(caught.value).splitlines() == [
        "field 'clusters[0].circuit_breakers' is set but not supported by this version of outrider",
        "field 'clusters[0].alt_stat_name' is set but not supported by this version of outrider",
    ]


def test_warn_logs_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    view = view_of(CLUSTER, TREE)
    view.text("name")
    with caplog.at_level(logging.WARNING, "outrider.config"):
        SupportPolicy("warn").check(view)
    assert len(caplog.records) == 2


def test_all_read_is_fine() -> None:
    view = view_of(CLUSTER, {"name": "a"})
    view.text("name")
    SupportPolicy().check(view)
