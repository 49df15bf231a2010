"""New models: where they come from, what must hold for them, which one runs, and how one is taken back."""
