"""Pure matchers: strings, headers, query, metadata, addresses, and the generic matcher tree.

Built from configuration views once; matching a request allocates nothing and cannot fail. Each has `describe()`.
"""
