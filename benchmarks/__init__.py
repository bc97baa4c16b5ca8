"""Measurements: CPU per request beside the real Envoy and nginx."""
