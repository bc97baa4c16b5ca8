"""HTTP/2: conformance and hostile peers."""
