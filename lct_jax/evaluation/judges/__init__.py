"""Judges of whole scenes, a file each: a new one needs only its file, which defines `JUDGE`."""
