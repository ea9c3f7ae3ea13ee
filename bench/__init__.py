"""Benchmarks: each is a program that prints one table, with its peer beside it, and names the machine."""
