"""envoy.matching.*"""
