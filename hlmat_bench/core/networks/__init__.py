"""What all local networks share: devices, memory, weights."""
