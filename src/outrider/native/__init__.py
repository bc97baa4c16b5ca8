"""Compiled bindings, without policy: what is measured to be too slow in Python.

- `http1.pyx`: llhttp, one call per header block; serialiser of header blocks and chunks
- `http1_fallback.py`: the same interface in Python over httptools, used where the extension is not built
- `load.py`: which of the two is in use; everybody imports from here
- `parse_error.py`, `known_names.py`: what both share
- `build.py`: the extension modules, for setup.py; `python -m outrider.native.build` builds them in place
"""
