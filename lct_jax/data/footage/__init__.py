"""From a folder of videos to scene files: finding, cutting, grouping and captioning."""
