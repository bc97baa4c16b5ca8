"""Vetoes on internal redirects (`InternalRedirectPolicy.predicates`)."""
