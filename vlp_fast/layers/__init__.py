"""Modules that the models are made of, each usable on its own in other people's training code."""
