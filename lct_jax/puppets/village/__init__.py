"""Draws, writes and reads the village: puppets with faces and clothes, in places with light and shadow."""
