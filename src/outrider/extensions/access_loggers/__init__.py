"""envoy.access_loggers.*"""
