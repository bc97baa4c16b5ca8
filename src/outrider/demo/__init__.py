"""The embedded quick-start: what `outrider` runs when it is given no configuration.

quickstart.yaml  the configuration (also in `configs/`)
quickstart.py    runs it together with the upstream
upstream.py      a small HTTP server to proxy to; `python -m outrider.demo` runs it alone
"""
