"""Where a stateful session keeps the address of its host: `cookie.py`, `header.py`."""
