"""What a user runs when training looks stuck."""
