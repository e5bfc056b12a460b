"""Samples labelled scenes and measures what they show."""
