"""Builds the actions of a route: route, redirect, direct_response."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.matching.regex import parse_regex_rewrite
from outrider.router.config.host_rewrite import FormatHost, HeaderHost, HostRewrite, LiteralHost, PathRegexHost
from outrider.router.config.match_loader import set_fields
from outrider.router.config.path_match import TemplatePath
from outrider.router.config.path_rewrite import (
    FormatPathRewrite,
    PathRewrite,
    PrefixRewrite,
    RegexPathRewrite,
    TemplatePathRewrite,
)
from outrider.router.config.redirect_action import RedirectAction
from outrider.router.config.uri_template import TemplateError, UriTemplateRewrite

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.router.config.route_match import RouteMatch

_REWRITES: Final = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")

REDIRECT_CODES: Final[dict[str, int]] = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}


def load_path_rewrite(view: View, match: RouteMatch) -> PathRewrite | None:
    """Of a RouteAction. Raises ConfigError."""
    present = set_fields(view)
    given = [name for name in _REWRITES if name in present]
    if not given:
        return None
    if len(given) > 1:
        raise view.error("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy", given[1])
    if given[0] != "path_rewrite_policy":
        return _load_rewrite(view, given[0], match)
    policy = view.message("path_rewrite_policy")
    assert policy is not None
    config = policy.any("typed_config")
    if config.type_name != "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig":
        raise policy.error(
            f"Didn't find a registered implementation for '{policy.text('name')}' with type URL: '{config.type_name}'",
            "typed_config",
        )
    policy.text("name")
    if not isinstance(match.path, TemplatePath):
        raise policy.error(
            "unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without "
            "envoy.path.match.uri_template.uri_template_matcher extension"
        )
    text = config.text("path_template_rewrite")
    try:
        target = UriTemplateRewrite(text)
    except TemplateError:
        raise config.error(
            f"path_rewrite_policy.path_template_rewrite {text} is invalid", "path_template_rewrite"
        ) from None
    template = match.path.template
    places = target.bind(template)
    if places is None:
        raise config.error(
            f"mismatch between variables in path_match_policy {template.text} and path_rewrite_policy {text}",
            "path_template_rewrite",
        )
    return TemplatePathRewrite(template, target, places)


def _load_rewrite(view: View, kind: str, match: RouteMatch) -> PathRewrite:
    if kind == "prefix_rewrite":
        return PrefixRewrite(match.path, view.text(kind).encode())
    if kind == "regex_rewrite":
        regex = view.message(kind)
        assert regex is not None
        return RegexPathRewrite(parse_regex_rewrite(regex))
    text = view.text(kind)
    return FormatPathRewrite(_formatter(view, kind, "path", True), text)


def _formatter(view: View, field: str, what: str, omit_empty: bool) -> Formatter:
    try:
        return parse_format(view.text(field), (), omit_empty)
    except FormatError as error:
        raise view.error(f"Failed to create {what} rewrite formatter: {error}", field) from None


def load_host_rewrite(view: View) -> HostRewrite | None:
    """Of a RouteAction; `auto_host_rewrite` is not among them. Raises ConfigError."""
    kind = view.which("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        return LiteralHost(view.text(kind).encode())
    if kind == "host_rewrite_header":
        return HeaderHost(view.text(kind).lower().encode())
    if kind == "host_rewrite_path_regex":
        regex = view.message(kind)
        assert regex is not None
        return PathRegexHost(parse_regex_rewrite(regex))
    if kind == "host_rewrite":
        return FormatHost(_formatter(view, kind, "host", False))
    return None


def load_redirect(view: View, match: RouteMatch) -> tuple[int, RedirectAction]:
    """Status and action of a RedirectAction. Raises ConfigError."""
    action = RedirectAction()
    if view.which("scheme_rewrite_specifier") == "https_redirect":
        action.scheme = b"https" if view.flag("https_redirect") else b""
    else:
        action.scheme = view.text("scheme_redirect").encode()
    action.host = view.text("host_redirect").encode()
    port = view.integer("port_redirect")
    if port:
        action.port = b":%d" % port
    kind = view.which("path_rewrite_specifier")
    if kind == "path_redirect":
        action.path = view.text(kind).encode()
    elif kind == "path_rewrite":
        action.path_format = _formatter(view, kind, "path", True)
    elif kind == "regex_rewrite" or (kind == "prefix_rewrite" and view.text(kind)):
        action.path_rewrite = _load_rewrite(view, kind, match)
    action.strip_query = view.flag("strip_query")
    return REDIRECT_CODES[view.enum("response_code")], action


def load_body(view: View, limit: int) -> bytes:
    """The bytes of a DataSource, at most `limit` of them. Raises ConfigError."""
    kind = view.which("specifier")
    if kind == "filename":
        name = view.text(kind)
        path = Path(name)
        try:
            size = path.stat().st_size
            if size > limit:
                raise view.error(f"file {name} size is {size} bytes; maximum is {limit}", kind)
            body = path.read_bytes()
        except FileNotFoundError:
            raise view.error(f"file {name} does not exist", kind) from None
        except OSError as error:
            raise view.error(f"unable to read file: {name} ({error.strerror})", kind) from None
        return body
    if kind == "inline_bytes":
        body = view.data(kind)
    elif kind == "inline_string":
        body = view.text(kind).encode()
    elif kind == "environment_variable":
        body = _environment(view)
    else:
        body = b""
    if len(body) > limit:
        raise view.error(f"response body size is {len(body)} bytes; maximum is {limit}", kind)
    return body


def _environment(view: View) -> bytes:
    import os

    name = view.text("environment_variable")
    value = os.environb.get(name.encode())
    if value is None:
        raise view.error(f"Environment variable doesn't exist: {name}", "environment_variable")
    return value
