"""Weights in fewer bits: formats, layers that compute with them, the converter."""
