"""The Blobs port on a directory."""
