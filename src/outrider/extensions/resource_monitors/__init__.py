"""envoy.resource_monitors.*"""
