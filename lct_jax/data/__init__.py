"""Prepares and reads data: annotated footage, prepared records, the planner over lengths, and packed batches."""
