"""What precision costs: loss and errors by site, BLEU, sensitivity, accumulators, kernel by kernel."""
