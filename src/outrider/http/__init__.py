"""HTTP: codec contract and codecs, filters and their manager, streams, the HTTP connection manager."""
