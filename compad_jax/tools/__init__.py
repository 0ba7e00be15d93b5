"""Programs for whoever develops: they read runs and histories, nothing imports them."""
