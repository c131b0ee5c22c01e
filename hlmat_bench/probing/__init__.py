"""What `hlmat_bench.probe` is made of: its images, the readings it compares, the diagnosis and the picture."""
