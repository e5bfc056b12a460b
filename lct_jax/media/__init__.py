"""Pictures, videos and files in and out."""
