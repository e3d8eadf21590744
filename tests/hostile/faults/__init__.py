"""Campaigns of faults: each row of docs/reliability.md is tried many times, and prints tried, failed and seconds."""
