"""Complete many prompts with a trained model, on Ray Data: `python -m batch_infer --help`."""
