"""Devices, memory and weights, for all networks that run on this machine."""
