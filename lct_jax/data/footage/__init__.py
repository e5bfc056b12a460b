"""Turns a folder of videos into scene files: finding, cutting, grouping and captioning."""
