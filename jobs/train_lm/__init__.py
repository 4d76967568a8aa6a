"""Train a small Llama-architecture language model on a Ray cluster: `python -m train_lm --help`.

Belongs here: the model, its data, checkpoints, training loop and export, and the driver that runs them under Ray
Train. The other programs under `jobs/` import from it. Only `main`, `launch` and `stop` know Ray; none knows raysvc:
the two meet in environment variables and files, all of them in `contract`.
"""
