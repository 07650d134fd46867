"""Accounts: whose credentials they are, where they lie, how long they live."""
