"""Tables, rules and numbers of the ISIC challenges."""
