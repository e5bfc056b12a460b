"""Scripts in the layouts of other projects, read and written; what a layout has no place for is always named.

A reader returns the script and notes, and a writer returns files and notes. A note is a line about a field that has no
place on the other side, or about a value that had to change.
"""

from lct_jax.directing.formats.holocine import read_holocine, write_holocine
from lct_jax.directing.formats.shot_tables import TABLES, read_shots, read_table, write_table
from lct_jax.directing.formats.stories import STORIES, read_story, write_story
from lct_jax.directing.formats.values import Exported, Imported

__all__ = [
    "STORIES",
    "TABLES",
    "Exported",
    "Imported",
    "read_holocine",
    "read_shots",
    "read_story",
    "read_table",
    "write_holocine",
    "write_story",
    "write_table",
]
