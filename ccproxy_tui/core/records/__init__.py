"""What happens in the proxy, as events, and the records of exchanges that are made of them."""
