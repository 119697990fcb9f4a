"""Are the bits right: machine against fake-quant, site by site; the first wrong code, and why it is wrong."""
