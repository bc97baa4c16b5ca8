"""Plug-ins that choose the priority of a retry (`RetryPolicy.retry_priority`)."""
