"""Everything that is neither a screen nor an adapter to one upstream."""
