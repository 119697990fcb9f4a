"""The float networks: one file a model family, written once over the operations of `Arithmetic`."""
