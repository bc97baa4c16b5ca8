"""The real Envoy 1.40 and Outrider side by side: same configuration, same traffic, same outcome.

Each `test_*.py` is one configuration group: `GROUP` describes configuration and upstreams, the cases are a table. Both
proxies start once a group. `OUTRIDER_PARITY_ONLY=envoy` runs the cases against Envoy alone, `OUTRIDER_PARITY_SHOW=1`
prints what was observed.
"""
