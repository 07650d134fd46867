"""One client request, from what it asks of an upstream to the answer: prepared in one place, sent in one place."""
