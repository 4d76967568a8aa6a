"""Find train_lm's learning rate with Ray Tune: `python -m sweep --help`."""
