"""Directs a scene shot by shot, with the model and its cache in memory."""
