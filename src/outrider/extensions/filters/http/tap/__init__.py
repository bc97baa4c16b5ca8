"""envoy.filters.http.tap: copies of requests and responses that match, in files.

filter.py    the filter: what is kept of a stream
predicate.py which streams are tapped
sink.py      how traces are written
"""

from outrider.extensions.filters.http.tap.filter import create

__all__ = ["create"]
