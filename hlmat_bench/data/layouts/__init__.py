"""Where samples come from: one module per annotation layout, each with its settings and how to read it."""
