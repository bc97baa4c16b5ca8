"""The pages for people: the home page with a form for each endpoint, and `/stats?format=html`."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from outrider.server.admin.endpoint import Endpoint, EndpointTable, Parameter, ParameterKind
from outrider.server.admin.request import HTML, AdminRequest, AdminResponse
from outrider.server.admin.state import AdminState
from outrider.stats.query import StatsFormat, StatsQuery
from outrider.stats.text import render_text

_TEMPLATE: Final = Path(__file__).with_name("home.html")

_TILES: Final = (
    ("rps", "requests per second"),
    ("rq", "requests"),
    ("act", "active requests"),
    ("err", "4xx / 5xx"),
    ("cx", "downstream connections"),
    ("hosts", "healthy upstream hosts"),
    ("mem", "memory of main"),
)

_REFRESH: Final = """<script>
(function(){
  var seen={},changes={};
  async function tick(){
    var params=new URLSearchParams(location.search);params.set('format','json');params.delete('histogram_buckets');
    var stats=(await (await fetch('stats?'+params)).json()).stats||[];
    stats.forEach(function(s){if(!('name' in s))return;
      if(s.name in seen&&seen[s.name]!==s.value)changes[s.name]=(changes[s.name]||0)+1;seen[s.name]=s.value});
    var names=Object.keys(seen).sort(function(a,b){return (changes[b]||0)-(changes[a]||0)||(a<b?-1:1)}).slice(0,50);
    document.getElementById('stats').textContent=names.map(function(n){return n+': '+seen[n]}).join('\\n');
  }
  tick();setInterval(tick,1000);
})();
</script>
"""


def page(content: str) -> AdminResponse:
    template = _TEMPLATE.read_text("utf-8")
    return AdminResponse(template.replace("<!--CONTENT-->", content), content_type=HTML)


def home_page(table: EndpointTable) -> AdminResponse:
    """`/`"""
    tiles = "".join(f'<div class="tile"><b id="{name}">&ndash;</b><span>{text}</span></div>' for name, text in _TILES)
    rows = "".join(endpoint_row(endpoint) for endpoint in table.endpoints if endpoint.path != "/")
    return page(f'<div class="tiles">{tiles}</div>\n<table><tbody>\n{rows}</tbody></table>\n')


def endpoint_row(endpoint: Endpoint, request: AdminRequest | None = None) -> str:
    """A row of the table of endpoints; with a request, its form is filled in as that request was."""
    name = endpoint.path[1:]
    form = f"form-{name.replace('/', '-')}"
    if endpoint.mutates:
        control = f'<button class="act" form="{form}">{escape(name)}</button>'
    elif endpoint.parameters:
        control = f'<button class="link" form="{form}">{escape(name)}</button>'
    else:
        return (
            f'<tr><td class="name"><a href="{escape(name)}">{escape(name)}</a></td>'
            f'<td class="text">{escape(endpoint.help)}</td></tr>\n'
        )
    method = "post" if endpoint.mutates else "get"
    options = "".join(option(name, parameter, form, request) for parameter in endpoint.parameters)
    return (
        f'<tr><td class="name"><form id="{form}" action="{escape(name)}" method="{method}">{control}</form></td>'
        f'<td class="text">{escape(endpoint.help)}{options}</td></tr>\n'
    )


def option(endpoint: str, parameter: Parameter, form: str, request: AdminRequest | None) -> str:
    """The input of one parameter."""
    name = escape(parameter.name)
    given = request.params.get(parameter.name) if request is not None else None
    label = f'<label for="{form}-{name}">{escape(parameter.help)}</label>'
    attributes = f'name="{name}" id="{form}-{name}" form="{form}"'
    if parameter.kind is ParameterKind.FLAG:
        checked = " checked" if given is not None else ""
        field = f'<span class="flag"><input type="checkbox" {attributes}{checked}>{name}</span>'
    elif parameter.kind is ParameterKind.CHOICE:
        choices = "".join(
            f'<option value="{escape(choice)}"{" selected" if choice == given else ""}>{escape(choice)}</option>'
            for choice in parameter.choices
        )
        field = f"<select {attributes}>{choices}</select>"
    else:
        field = f'<input type="text" {attributes} placeholder="{name}" value="{escape(given or "")}">'
    return f'<div class="option"><span>{field}</span>{label}</div>'


def stats_page(state: AdminState, endpoint: Endpoint, query: StatsQuery, request: AdminRequest) -> AdminResponse:
    """`/stats?format=html` and `active-html` (the stats that change most, refreshed each second)."""
    form = f"<table><tbody>{endpoint_row(endpoint, request)}</tbody></table>"
    if query.format is StatsFormat.ACTIVE_HTML:
        return page(f'{form}<pre id="stats"></pre>{_REFRESH}')
    text = "".join(render_text(state.store, query))
    return page(f"{form}<pre>{escape(text)}</pre>")
