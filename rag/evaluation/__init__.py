"""Evaluation: questions with known answers, the metrics of a run, and how sure one can be of them."""
