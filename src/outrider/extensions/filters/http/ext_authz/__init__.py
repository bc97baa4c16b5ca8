"""envoy.filters.http.ext_authz: an HTTP service decides which requests pass.

filter.py    the filter: when to ask, what to do with the answer
service.py   the HTTP service: what it is told, and what of its answer counts
"""

from outrider.extensions.filters.http.ext_authz.filter import create

__all__ = ["create"]
