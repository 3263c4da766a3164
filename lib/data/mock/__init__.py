"""Simulated listeners: their tastes, their habits, and habits fitted to a public log."""
