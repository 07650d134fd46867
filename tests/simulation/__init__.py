"""A seeded simulation: proxies, the tools whose logins they share, vendors, users and faults, in virtual time.

Everything that a run does follows from its seed: which callback runs next, how long each step takes, what fails, who is
killed and when. The code under test is the product's own; replaced are the event loop (`loop`), the machine's clocks
(`clock`), the calls that change files (`disk`: real files, real locks) and the network (`vendor`). A run that breaks a
rule prints its seed and its trace, and `python -m tests.simulation --seed N` shows the same run again.
"""
