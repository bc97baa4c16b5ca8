"""Sinks: where flushed stats go."""
