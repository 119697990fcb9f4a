"""How fast: products, operators and translations beside those of others, and the computer that they ran on."""
