"""The machine: clocks, files, processes, peers, logs and tasks."""
