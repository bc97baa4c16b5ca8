"""A small control plane: resources in memory, served over xDS (state of the world and incremental, ADS and single-type
services) by grpcio.

    cache = SnapshotCache()
    cache.set(CLUSTER, [{"name": "backend", "type": "STATIC", "load_assignment": {...}}])
    server = ControlPlane(cache)
    server.start("127.0.0.1:18000")
    ...
    cache.set(CLUSTER, [...])          # every stream that wants clusters is told
    server.stop()

or from files, one per resource, read again when they change:

    python -m examples.control_plane --listen 127.0.0.1:18000 folder/

- `resources.py`  resources from dicts
- `snapshot.py`   `SnapshotCache`: what there is, and its versions
- `sessions.py`   the protocol of one stream, both forms; no I/O
- `server.py`     `ControlPlane`: the gRPC services
"""
