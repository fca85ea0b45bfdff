"""Files, processes and devices: what everything stands on."""
