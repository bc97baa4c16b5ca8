"""Predicates that keep retries away from hosts (`RetryPolicy.retry_host_predicate`)."""
