"""Compression libraries: `library.py` is what they have in common, `gzip.py`, `brotli.py` and `zstd.py` are they."""
