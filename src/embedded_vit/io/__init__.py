"""Bytes on disk to volumes and label maps, and back."""
