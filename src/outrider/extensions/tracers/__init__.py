"""envoy.tracers.*"""
