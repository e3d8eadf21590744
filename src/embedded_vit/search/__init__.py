"""The best network within a budget: candidates are measured, then trained briefly, on several machines at once."""
