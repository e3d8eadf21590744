"""Recipes that make a trained network smaller and faster, and prove that it still segments."""
