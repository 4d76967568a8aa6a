"""A store with a long history, and the server that `scale` measures on it. No benchmark by itself."""
