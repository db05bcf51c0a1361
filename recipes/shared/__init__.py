"""What both sides of a pair use: hyper-parameters, data, the run folder, TensorBoard. No algorithm in here."""
