"""Network filters; the path of each is its registered name without `envoy.`."""
