"""Adapters to upstreams, loaded by entry point (`ccproxy_tui.providers`)."""
