"""Networks of image features, a file each: a new one needs only its file, which defines `FEATURES`."""
