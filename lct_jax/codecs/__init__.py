"""Video codecs and text encoders behind two small protocols."""
