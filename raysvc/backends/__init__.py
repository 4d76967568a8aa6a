"""Places where Ray runs. Each backend renders purely, then sends; nothing here imports ray."""
