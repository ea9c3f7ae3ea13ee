"""Cluster: what runs on many machines, and how their parts find each other. Ray is imported only in what
needs it."""
