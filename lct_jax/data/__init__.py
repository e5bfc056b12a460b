"""Data: annotated footage, prepared records, the planner over lengths, and the pipeline of packed batches."""
