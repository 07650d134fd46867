"""What front ends see and do: the protocol, its values on the wire, its client, and finding the proxy."""
