"""The model of scale: measured constants, the stations of a question, and a simulation of many of them."""
