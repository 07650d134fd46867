"""Text in and out: what is masked, spelled out, filtered, unpacked and split. No I/O."""
