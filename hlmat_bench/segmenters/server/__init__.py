"""A segmenter behind HTTP: the server, its requests and its sessions."""
