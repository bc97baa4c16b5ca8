"""Distributed tracing: what a request's spans are, whether it is traced, what they tell.

Tracers (`extensions/tracers/`) make spans and send them. Source: Envoy documentation, "Tracing".
"""
