"""Files of a scene: pictures and latents that are given go in, finished shots come out."""
