"""One module per stage of training, and what they share: the order of samples, checkpoints, progress."""
