"""What the field measures beyond the shared figures; `expression` says what is where."""
