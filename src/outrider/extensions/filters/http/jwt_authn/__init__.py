"""envoy.filters.http.jwt_authn: requests need valid JSON Web Tokens.

filter.py        the filter, its rules and its configuration
requirement.py   what a rule asks for, evaluated without side effects
provider.py      issuers: where tokens are, what becomes of their claims
token.py         tokens, keys, signatures
remote_keys.py   keys fetched from a cluster
stats.py         counters
"""

from outrider.extensions.filters.http.jwt_authn.filter import create

__all__ = ["create"]
