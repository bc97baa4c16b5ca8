"""The Common Expression Language: in formats, log filters, matchers and policies.

Expressions run in Google's cel-cpp, which is Envoy's engine too, through its Python binding (imported when the first
expression loads). Source: Envoy documentation, "Attributes"; the CEL specification.
"""
