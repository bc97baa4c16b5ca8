"""Names that traffic asks for, resolved once and kept fresh: what the dynamic forward proxies share."""
