"""Learns from a folder of music what the package ships: the projection and the decision."""
