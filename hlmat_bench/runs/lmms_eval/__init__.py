"""lmms-eval, both ways: its models play our runs (`adapters/models/lmms.py`), and our tasks run inside it (`task`).

https://github.com/EvolvingLMMs-Lab/lmms-eval, version 0.7.3. Importing this package does not import it.
"""
