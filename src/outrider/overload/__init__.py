"""The overload manager: pressures of resources, triggers, and the actions that they set off.

Main watches the resources (`server/overload_refresh.py`) and tells the workers how far each action is on; the road
looks at a `OverloadState`. Source: Envoy documentation, "Overload manager".
"""
