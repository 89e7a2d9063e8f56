"""What `@cached` is made of."""
