"""Compiled bindings, without policy: what is measured to be too slow in Python.

- `http1.pyx` (with `http1_names.pxi`, `http1_spans.pxi`): llhttp, one call per header block
- `http1_writer.pyx`: serialiser of header blocks and chunks
- `http1_fallback.py`, `http1_writer_fallback.py`: the same in Python, over httptools, where they are not built
- `load.py`: which of them are in use; everybody imports from here
- `http2.pyx`: sessions over nghttp2, whole header blocks; `load_http2.py` says whether it is built (no fallback);
  `http2_error.py`: its errors and the numbers of RFC 9113
- `parse_error.py`, `known_names.py`: what both share
- `build.py`: the extension modules, for setup.py; `python -m outrider.native.build` builds them in place
"""
