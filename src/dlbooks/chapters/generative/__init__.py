"""Generative models: networks that learn to draw."""
