"""envoy.access_loggers.extension_filters.*"""
