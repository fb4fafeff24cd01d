"""Readers of what a training left behind."""
