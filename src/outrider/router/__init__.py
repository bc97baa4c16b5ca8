"""The router: route configuration (`config/`), the terminal HTTP filter (`filter`), upstream requests, retries."""
