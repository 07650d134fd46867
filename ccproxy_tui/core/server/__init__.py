"""The proxy's HTTP side: routes, security, the life of an exchange, the control API."""
