"""Sampling of labelled scenes and what is measured in them."""
