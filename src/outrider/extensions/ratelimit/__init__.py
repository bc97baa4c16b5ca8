"""What the HTTP and the network rate limit filter share: the service that is asked, and headers about limits."""
