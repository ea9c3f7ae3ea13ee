"""One model over several processes: tensor parallelism, applied from outside the model."""
