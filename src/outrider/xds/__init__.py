"""Configuration that changes, and where it comes from.

- `factory.py`     `XdsSubscriptions`: subscriptions from a `ConfigSource` (main's)
- `source.py`      what a ConfigSource and an ApiConfigSource say, checked
- `resource.py`    what arrives, unpacked and checked, as `Resource`
- `xdstp.py`       `xdstp://` names
- `authorities.py` the streams of `xdstp://` authorities
- `mux*.py`        the protocol over one gRPC stream: state of the world, and incremental
- `transport/`     what carries it: gRPC streams, REST polling, files
- `providers/`     secrets, routes and extensions that follow subscriptions
- `load_reports.py` LRS
"""
