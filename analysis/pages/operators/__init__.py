"""The pages of docs/operators and docs/targets.md: error studies, their plots, and the tables made from records."""
