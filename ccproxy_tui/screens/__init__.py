"""What a person sees. Screens draw a mirror of the proxy's store and act through `Control` alone."""
