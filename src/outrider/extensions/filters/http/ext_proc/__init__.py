"""envoy.filters.http.ext_proc: an external processor sees, changes and answers messages.

filter.py     the filter: the stream to the processor, errors, timeouts
callbacks.py  what it hands to the stream and to local replies
answers.py    what answers mean beside their edits
closing.py    streams that nobody needs any more
direction.py  request or response: what is held, sent and waited for
held.py       what of a message is held back, and how it goes on
messages.py   what is told, and the edits that are asked for
settings.py   configuration, for filter and routes
stats.py      counters
over_http.py  a processor behind plain HTTP
"""

from outrider.extensions.filters.http.ext_proc.settings import create

__all__ = ["create"]
