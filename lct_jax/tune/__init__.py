"""One command from a published base and footage to a scene model: the stages, and how they are run."""
