"""Role based access control, shared by the HTTP and the network filter.

conditions.py   the base of all conditions, and those that combine others or fit both sides
permissions.py  what is asked for: paths, headers, destination
principals.py   who asks: certificates, addresses, headers, state
engine.py       policies and matcher trees, and their verdicts
stats.py        counters of a filter, and of its rules
"""
