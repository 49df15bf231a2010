"""What happens in the results: things that come, stay and go."""
