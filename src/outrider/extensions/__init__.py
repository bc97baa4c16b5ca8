"""Optional parts; the path of a module is its registered name without `envoy.`."""
